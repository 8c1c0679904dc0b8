"""The one client through which a teacher and a judge are reached: recorded, replayable, paced, and within a budget."""

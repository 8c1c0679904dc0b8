"""Judging tags: what verdicts and scores add up to, and how far a judge agrees with people (paper sections 3.3, 4.5, appendix D)."""

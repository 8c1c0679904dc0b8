"""Tag data: notes with their media as a tagger sees them and the tags to learn (paper section 3.2)."""

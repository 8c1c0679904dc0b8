"""Sample notes, readers and gold tags, written for this project: what the demo shows and what the tagger is measured on.

- ``notes.jsonl``: 84 notes in English and Chinese over the 18 categories with invented brands (``tagstream publish notes`` takes it as it
  is), three updates, two deletions, one repost, notes without category, ids with awkward characters.
- ``interactions.jsonl``: thirteen readers, in time order, one event sent twice; every third note has no interaction yet.
- ``gold.jsonl``: for each live note the tags a careful human gives, in the note's language.
- ``load.py`` moves both streams to now and gives media absolute URIs.
- ``render.py`` draws the images and clips from each note's attributes, by ``drawing.py`` and the outlines of ``silhouettes.yaml``:
  ``python -m offline.samples.render OUT_DIR``.
"""

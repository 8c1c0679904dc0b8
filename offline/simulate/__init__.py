"""A community with known truth: products, notes with text, pictures, clips and voice, readers and what they choose.

Reading order: ``draws.py`` (where all chance comes from), ``catalogue.py``, ``truth.py``, ``notes.py``, ``compose.py``, ``readers.py``,
``choice.py``, ``interactions.py``, ``render.py``, ``voice.py``, ``cli.py``.
"""

"""Media of a note: fetched within limits, decoded in a process of its own, and whatever cannot be had is named.

``results`` what comes back -> ``limits`` settings -> ``uris`` parsing -> ``addresses`` where connections may go -> ``http``, ``files``,
``objects`` one per scheme -> ``store`` files on disk -> ``fetch`` -> ``decoder`` (and its child) -> ``open_note`` by its ``senses`` ->
``opener`` for a whole batch.
"""

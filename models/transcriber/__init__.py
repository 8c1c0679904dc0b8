"""Speech to text: voices found (``voices``), recognised by SenseVoice (``torch_engine``, ``onnx_engine``), its tags read (``rich``).

``files`` what a model directory holds -> ``load`` -> ``pipeline``; ``front_end`` features without torch; ``export`` torch to ONNX;
``correction`` by a language model afterwards, guarded.
"""

from models.transcriber.load import load_transcriber, open_transcriber

__all__ = ["load_transcriber", "open_transcriber"]

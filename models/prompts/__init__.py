"""From a handbook, a note and its media to a chat with a vision-language model, and the schema of its answer.

What a note says is data: it is escaped and capped (``data.py``) and put between marks that no note can write (``build.py``). The words
around it are in ``styles.py``; their hash is the prompt version.
"""

from models.prompts.build import Chat, ChatPart, Prompt, Prompts
from models.prompts.data import escaped
from models.prompts.schema import SOURCES, answer_schema
from models.prompts.styles import STYLES, Style

__all__ = ["SOURCES", "STYLES", "Chat", "ChatPart", "Prompt", "Prompts", "Style", "answer_schema", "escaped"]

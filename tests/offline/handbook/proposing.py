"""A made-up model that proposes for the shoes, and a handbook to merge into."""

import json
import shutil
from pathlib import Path

from models.handbook import HANDBOOK_DIR


def proposed(*dimensions) -> str:
    return json.dumps({"dimensions": list(dimensions)}, ensure_ascii=False)


def entry(name: str, examples: dict[str, str] | None = None, **more) -> dict[str, object]:
    pairs = [{"en": en, "zh": zh} for en, zh in (examples or {}).items()]
    return {"id": name, "name_en": "", "name_zh": "", "description": "", "examples": pairs, "cues": [], "reason": "they ask"} | more


NEW = {f"storage tip {word}": f"收纳{sign}" for word, sign in zip("abcdefgh", "甲乙丙丁戊己庚辛", strict=True)}
STORAGE = entry("storage", NEW, name_en="Storage", name_zh="收纳", description="How shoes are kept.", cues=["shoe box", "鞋盒"])
CUSHION = entry("cushioning", {"nitrogen foam": "氮气泡棉", "plush landing": "落地柔软"}, cues=["foamy"])


def copied(directory: Path) -> Path:
    """A handbook of one's own."""
    shutil.copytree(HANDBOOK_DIR, directory)
    return directory

"""What stands between a model's answer and the tags that leave: evidence, contradictions, aliases. Each can be switched off."""

from models.guards.aliases import Aliases
from models.guards.guard import Guarded, Guards, build_guards, guard

__all__ = ["Aliases", "Guarded", "Guards", "build_guards", "guard"]

"""The handbook's making (section 3.1): a model proposes, experts decide, and nothing of theirs is lost when it proposes again."""

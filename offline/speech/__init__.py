"""The demo's speech model: a small SenseVoice, trained from scratch on the voices of the simulated community.

``said`` what people say -> ``speakers`` who says it -> ``render`` spoken by espeak-ng, kept as features -> ``batches`` sentences from
clauses -> ``network`` pieces and layers -> ``training`` -> ``evaluate`` on voices never heard.
"""

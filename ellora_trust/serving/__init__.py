"""An OpenAI-compatible endpoint whose answers carry their risk: what `ellora-trust serve` runs.

guarded = Guarded(model, probe, Defaults(policy="abstain", threshold=0.6))
app = build_app(guarded, Limits(), access=Access(key))
serve(app, listening("127.0.0.1", 8000))
"""

from __future__ import annotations

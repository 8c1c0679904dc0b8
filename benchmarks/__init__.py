"""What is timed, against which peer or limit. ``python -m benchmarks`` runs all and writes RESULTS.md and results.json; never a test."""

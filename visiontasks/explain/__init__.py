"""Looking inside a network: what its answer rests on, what its units look for, where it breaks.

A room beside tasks, engine and data; it is handed a `Task`, a network and a batch.
"""

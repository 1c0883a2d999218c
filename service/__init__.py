"""The FastAPI service around the runtime. Imports diffcdr, never training, never torch."""

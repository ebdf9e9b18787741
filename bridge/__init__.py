"""Provider Health Bridge: between an AI gateway and the people who watch it."""

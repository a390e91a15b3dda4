"""How the demo models are made: architecture, episodes, interchange training, evaluation."""

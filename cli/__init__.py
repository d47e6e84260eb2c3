"""What a person types. No logic lives here: commands call the store and the runner, and print."""

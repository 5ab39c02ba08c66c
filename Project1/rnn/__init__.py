"""What LSTM.py and GRU.py share: from files of texts to a saved model, one module for each step."""
SLOW = "matplotlib", "scipy", "sklearn"  # Keras would import them at each start; they are imported when they are used

"""What LSTM.py and GRU.py share: from files of texts to a saved model, one module for each step."""

"""The rooms of emotion_classifier.py."""

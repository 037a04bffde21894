"""The shipped library, walked through as its definitions say."""

"""The standard steps. They come with a later version; today a step is a function or a class of your own."""

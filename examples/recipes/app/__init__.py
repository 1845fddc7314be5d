"""The application; `import app` finds it."""

NAME = "app"

"""The diffusers-style pipeline of InvertAvatar."""

if __name__ != "invertavatar.pipelines":  # a module that has two names is there twice
    raise ImportError("The folder pipelines is part of the package: import invertavatar.pipelines.")

"""The built-in recipes, as YAML files beside this one."""

"""What pyproject.toml can't say: the wheel is the library alone; an editable install is the whole checkout.

`predict` is made of a checkout's `commands` and `stages`, so only an editable install has the command.
"""

import sys

from setuptools import find_packages, setup

CHECKOUT = "editable_wheel" in sys.argv

setup(
    packages=find_packages(include=["mnistcore*", *(["commands", "stages"] if CHECKOUT else [])]),
    entry_points={"console_scripts": ["predict = commands.predict:main"] if CHECKOUT else []},
)

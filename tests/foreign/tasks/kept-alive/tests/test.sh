#!/bin/sh
exec python3 /tests/verify.py

FILE = "run.json"
KIND = "detector gate run"
VERSION = 1

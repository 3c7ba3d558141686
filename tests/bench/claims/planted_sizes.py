"""Sizes of claims that see planted defects: small, yet their parts are SUPPORTED in the right world."""

DIGITS = {"digits": ["model=mlp", "model.hidden=[16]", "dataset=digits"]}
FULL = ["batch_size=1149", "sampling=reshuffle"]
NOT_SUPPORTED = {  # part -> verdict in the right world: what the claim finds, or too few runs
    "CL48d": "INCONCLUSIVE",
    "CL49c": "INCONCLUSIVE",
    "CL53c": "REFUTED",
    "CL58b": "INCONCLUSIVE",
}
SIZES = {
    "CL1": {"seeds": 200, "steps": 12},
    "CL2": {"seeds": 200, "steps": 60},
    "CL3": {"seeds": 200},
    "CL14": {"steps": 4096, "noisy_steps": 256, "seeds": 1000, "control_seeds": 100},
    "CL19": {"seeds": 256, "effective_steps": [0.04, 0.01, 0.0025]},
    "CL22": {"seeds": 8000, "control_seeds": 200, "steps": 20},
    "CL25": {"seeds": 10_000, "steps": 20},
    "CL29": {"seeds": 10_000, "steps": 20},
    "CL47": {
        "seeds": 120,
        "control_seeds": 40,
        "chunk": 120,
        "steps": 100,
        "curve_seeds": 2,
        "rows": 200,
        "margin": 0.1,
        "lr": {"sgd": 1.0, "shb": 0.1, "adam": 0.05},
        "networks": {"digits": ["model.hidden=[4]", "dataset=digits"]},
        "seconds": 1e-4,
    },
    "CL48": {
        "engine": "compiled",
        "schedule": "constant",
        "rounds": 5,
        "octaves": 6,
        "chunk": 50,
        "networks": DIGITS,
        "parts": {"digits": {"small": "2", "medium": "32", "large": "full"}},
        "batches": {
            "digits": {
                batch: {"overrides": overrides, "steps": steps, "seeds": 16, "from": ends, "seconds": 1e-4}
                for batch, overrides, steps, ends in (
                    ("2", ["batch_size=2"], 300, {"sgd": 0.05, "shb": 0.05}),
                    ("32", ["batch_size=32"], 300, {"sgd": 0.15, "shb": 0.6, "zero": 0.15}),
                    ("full", FULL, 80, {"sgd": 0.2, "shb": 2.0, "weak": 0.4}),
                )
            }
        },
        "quadratic_steps": 200,
    },
    "CL49": {
        "engine": "compiled",
        "schedule": "cosine",
        "chunk": 50,
        "raw_seeds": 20,
        "networks": DIGITS,
        "parts": {"digits": {"small": "2", "equal": ["32"], "large": "full"}},
        "batches": {
            "digits": {
                batch: {"overrides": overrides, "steps": steps, "seconds": 1e-4, "runs": runs}
                for batch, overrides, steps, runs in (
                    (
                        "2",
                        ["batch_size=2"],
                        1000,
                        {
                            "scan": {"seeds": 2, "steps": [0.1, 0.5]},
                            "half": {"seeds": 200, "steps": [0.27]},
                            "best": {"seeds": 20, "steps": [0.1]},
                        },
                    ),
                    (
                        "32",
                        ["batch_size=32"],
                        2000,
                        {
                            "scan": {"seeds": 2, "steps": [1.0]},
                            "equal": {"seeds": 30, "steps": [0.08]},
                            "smaller": {"seeds": 30, "steps": [0.06]},
                        },
                    ),
                    (
                        "full",
                        FULL,
                        200,
                        {
                            "scan": {"seeds": 2, "steps": [1.0]},
                            "half": {"seeds": 12, "steps": [1.0]},
                            "best": {"seeds": 12, "steps": {"sgd": [1.0], "shb": [5.6]}},
                        },
                    ),
                )
            }
        },
    },
    "CL50": {
        "samples": 32,
        "seeds": 4000,
        "epochs": 16,
        "engine": "compiled",
        "network_seeds": 80,
        "chunk": 80,
        "networks": {"diabetes": ["model=mlp", "model.hidden=[8]", "dataset=diabetes", "batch_size=6"]},
        "step": 0.05,
        "updates": 47,
        "epochs_before": 20,
        "horizon": 4,
        "skipped": 1,
        "around": 18,
        "seconds": 1e-5,
    },
    "CL51": {
        "seeds": 100,
        "full_seeds": 4,
        "engine": "compiled",
        "batches": 50,
        "networks": {"diabetes": ["model=mlp", "model.hidden=[8]", "dataset=diabetes", "batch_size=6"]},
        "spectrum": [],
        **{
            size: {"diabetes": value}
            for size, value in (
                ("step", 0.05),
                ("steps", 3760),
                ("before", 84),
                ("settling", 376),
                ("last", 376),
                ("chunk", 100),
                ("seconds", 1e-5),
                ("full_seconds", 1e-5),
            )
        },
    },
    "CL52": {
        "seeds": 250,
        "control_seeds": 20,
        "schedule_seeds": 60,
        "tuning_seeds": 4,
        "lrs": {"low": 0.0631, "high": 0.631, "count": 6},
        "momentum": 0.9,
        "engine": "compiled",
        "chunk": 250,
        "steps": 500,
        "networks": {"digits": ["model.hidden=[32]", "dataset=digits"]},
        "schedule_networks": {"mnist1d": ["model.hidden=[32]", "dataset=mnist1d"]},
        "seconds": 1e-5,
    },
    "CL53": {
        "seeds": 8,
        "batch_size": 16,
        "effective_step": 0.3,
        "decay": 0.01,
        "steps": {"digits": 1200},
        "arms": {"digits": ["0.0", "0.9", "no decay", "no normalisation", "decoupled"]},
        "networks": {"digits": ["model.hidden=[8,8]", "model.norm=layer", "dataset=digits"]},
        "seconds": {"digits": 1e-4},
    },
    "CL54": {
        "seeds": 1000,
        "steps": 1024,
        "lr": 0.1,
        "adam_seeds": 2500,
        "adam_steps": 8192,
        "adam_lr": 1.0,
        "field_seeds": 4000,
        "field_steps": 4096,
        "network_seeds": 24,
        "chunk": 24,
        "network_steps": 1024,
        "network_lr": 0.05,
        "network_at": 0.5,
        "whole": 265,
        "networks": {"net": ["model=mlp", "model.hidden=[16]", "dataset=diabetes"]},
        "seconds": 1e-4,
    },
    "CL55": {"seeds": 2500, "engine": "compiled", "steps": 4096, "first": 128, "tolerance": 0.1},
    "CL56": {"polygons": 16, "chunk": 120},
    "CL57": {
        "networks": {"digits": ["dataset=digits"]},
        "images": 128,
        "width": 32,
        "bits": 12,
        "seeds": 2000,
        "first": 1500,
        "first_images": 512,
        "controls": 100,
        "margin": 0.06,
        "chunk": 500,
        "seconds": 0.002,
    },
    "CL58": {
        "networks": {"digits": ["model=mlp", "model.hidden=[16]", "dataset=digits"]},
        "seeds": 85,
        "grids": 8,
        "chunk": 85,
        "steps": 50,
        "batch": 64,
        "rows": 40,
        "seconds": 1e-4,
    },
    "CL59": {"seeds": 100, "steps": 8192, "control_steps": 512},
    "CL60": {"seeds": 150, "steps": 2048, "hulls": 150},
    "CL61": {"seeds": 6000, "engine": "compiled", "steps": 768, "exit_seeds": 6000},
}

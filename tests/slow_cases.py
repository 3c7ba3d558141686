"""Cases of a test that cost seconds and repeat what a cheaper case of the same test shows: they are marked slow.

A whole test that is slow carries `pytest.mark.slow` where it stands. Here are single cases: file, test (* for all of
the file), and their ids with the wildcards * and ?. Every test keeps a case in `make test`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

NETWORKS = ("attention", "batch norm", "cnn, layer", "cnn, batch", "group norm", "mlp, layer", "transformer")
CNN_2D, CNN_1D, LARGE = "cnn 2-D, max-pooling*", "cnn 1-D, stride*", "large mlp*"
OTHERS = ("sgd", "nesterov", "torch_momentum", "ema_momentum")  # than shb and adam

SLOW_CASES: dict[str, dict[str, tuple[str, ...]]] = {
    "shb/training/test_own_models.py": {"*": tuple(f"{model}-*" for model in (*NETWORKS, "layer norm"))},
    "shb/training/test_extended_rules.py": {
        "test_steps_are_tapes": ("adam-False-*", "adam-True-value", "shb-True-*", "shb-False-norm"),
        "test_a_member_has_its_bits_alone_in_other_stacks_and_after_a_resume": (
            "mlp_problem-adam-False-value-*",
            "*-eager",
        ),
        "test_the_rule_holds_for_any_number_of_threads": ("*-eager", "1-compiled"),
        "test_a_member_without_decay_has_the_bits_of_the_rule_alone": ("False-*", "True-eager"),
        "test_compiled_agrees_with_eager_in_float64": ("value",),
        "test_a_loop_over_the_steps_has_the_bits_of_single_steps": ("False-norm",),
    },
    "shb/training/test_bit_rule.py": {
        "test_alone": (CNN_2D, LARGE, "mlp sgd", "mlp nesterov"),
        "test_in_other_stacks_and_orders": (CNN_2D, LARGE, "mlp sgd*", "mlp nesterov*"),
        "test_in_chunks": (CNN_2D, CNN_1D, LARGE, "mlp sgd", "mlp nesterov"),
        "test_in_a_wider_program": (CNN_2D, CNN_1D, LARGE, "mlp sgd", "mlp nesterov"),
        "test_after_a_resume": (CNN_2D, LARGE, "mlp sgd*", "mlp nesterov*"),
        "test_other_precisions_train_and_keep_the_rule": ("mlp-dtype1",),
        "test_the_rule_holds_for_any_number_of_threads": ("large mlp-1",),
    },
    "shb/training/test_compiled.py": {
        "test_steps_and_evaluations_of_the_suite_are_tapes": (
            *(f"*-{optimizer}" for optimizer in OTHERS),
            "cnn 2-D-adam",
        ),
        "test_one_step_agrees_with_eager_float64": ("mlp-sgd", "mlp-nesterov"),
        "test_a_member_has_the_same_bits_alone_in_other_stacks_and_in_any_order": ("cnn 2-D*",),
        "test_the_rule_holds_for_any_number_of_threads": ("1",),
    },
    "shb/training/test_stack.py": {
        "test_a_member_of_a_stack_is_the_plain_torch_loop": (
            *(f"{network}-{rule}" for network in (CNN_2D, CNN_1D) for rule in ("sgd", "nesterov", "adam")),
            "mlp-nesterov",
        ),
        "test_a_closed_form_keeps_its_bits_alone_in_chunks_and_after_a_resume": ("e3-*", "*-sgd"),
    },
    "shb/training/test_slices.py": {
        "test_slices_change_nothing": ("mlp-power-*", "mlp-constant-eager", "e1-power-compiled"),
        "test_a_sliced_stack_goes_on_from_its_checkpoint": ("3",),
    },
    "shb/problems/closed_forms/test_bits.py": {
        "test_nor_do_those_of_compiled_steps": ("e15", "e14", "e9", "e6", "e10", "e8", "e5", "max_affine"),
        "test_bits_do_not_depend_on_the_stack": ("e15*", "e14*", "e9", "e10", "e16", "*-*"),
    },
    "shb/problems/closed_forms/test_stacks.py": {
        "test_twenty_steps_in_a_stack_of_five": ("e15-*", "e14-*", "*-adam-*")
    },
    "shb/problems/closed_forms/test_traps.py": {
        "test_started_at_the_artificial_point_it_stays_for_ever_iff_t_is_zero": ("E9-*", "*-adam-*", "E[56]-sgd-*"),
    },
    "bench/reproduction/test_plain_loop.py": {
        "test_a_plain_run_is_the_stacked_member": (
            "*, layer-shb",
            "*, batch-shb",
            "digits/squared-shb",
            "digits/mlp-nesterov",
        ),
    },
    "bench/cell/test_bounds.py": {
        "test_memory_is_asked_for_before_it_is_spent": ("suite=default*",),
    },
    "bench/execution/test_summary.py": {
        "test_a_closed_form_shows_its_objective_its_distances_and_its_trap": ("start[13]-*",),
    },
    "shb/optimizers/test_torch_shb.py": {
        "test_a_compiled_step_is_compiled_once_under_a_scheduler": ("*-0.0-True", "*-0.1-False"),
    },
    "shb/nonsmooth/test_inclusion_interpolation.py": {
        "test_noisy_heavy_ball_tracks_like_the_root_of_the_step_and_only_in_the_right_clock": ("e1-*", "absolute-0.0"),
    },
    "bench/check/test_check.py": {"test_what_is_shipped_passes": ("arguments1", "arguments2")},
    "bench/suite/test_suite.py": {"test_every_suite_composes_with_an_equal_budget": ("default", "full")},
    "bench/store/test_damage.py": {
        "test_a_board_with_damaged_curves_is_incomplete_and_a_run_repairs_it": ("flip",),
    },
    "bench/test_reading.py": {"test_commands_that_read_a_suite": ("damaged-*",)},
    "bench/leaderboard/ranking/test_groups.py": {
        "test_equal_optimizers_tie_in_95_of_100_boards": ("diverged", "accuracies", "independent"),
    },
    "bench/claims/test_command.py": {
        "test_every_experiment_of_every_level_can_be_composed": tuple(
            f"CL{claim}-quick"
            for claim in (4, 5, 8, 19, 22, 23, 24, 32, 36, 38, 39, 40, 41, 42, 46, 48, 49, 50, 52, 54, 55, 61)
        ),
    },
    "bench/claims/test_rotational_equilibrium.py": {
        "test_the_angle_law_is_exact_whatever_the_gradients_are": ("0.*-*",),
        "test_without_decay_the_square_grows_like_the_root_of_time": ("0.0-*", "0.9-white"),
    },
    "bench/claims/test_step_sizes.py": {"test_a_tiny_run": ("CL15", "CL16", "CL17")},
    "bench/claims/test_artificial_structure.py": {"test_end_to_end_at_tiny_sizes": ("CL28", "CL29")},
    "bench/claims/test_mini_batch_noise.py": {"test_a_tiny_run_has_its_parts_and_a_panel": ("CL50-6",)},
    "bench/claims/precision/test_trap_share.py": {"test_a_wrong_trap_share_refutes": ("wrong[1-4]-*",)},
}


def rows(file: str, test: str, case: str) -> list[tuple[str, str, str]]:
    """Rows (file, test or *, wildcards) that fit the case of a test: its id in brackets, its file under tests/."""
    found = SLOW_CASES.get(file, {})
    return [(file, name, row) for name in ("*", test) for row in found.get(name, ()) if fnmatchcase(case, row)]

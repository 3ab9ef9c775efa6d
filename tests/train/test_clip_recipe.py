"""The stages of jina-clip-v2's recipe have the published sizes, or what is set in proportion."""

from __future__ import annotations

import pytest

from polylens.train.clip_recipe import jina_clip_v2


class TestRecipe:
    def test_the_stages_of_the_paper_with_v1s_sizes(self) -> None:
        recipe = jina_clip_v2("m", ["t"], ["c"], ["l"], ["h"])
        assert [(p.name, p.image_size, p.max_length, p.hard_negatives) for p in recipe.parts] == [
            ("1-short", 224, 77, 0),
            ("1-short-finer", 384, 77, 0),
            ("2-long", 384, 512, 0),
            ("3-hard", 512, 512, 7),
        ]
        assert [(p.texts, p.captions) for p in recipe.parts] == [
            (("t",), ("c",)),
            (("t",), ("c",)),
            (("t",), ("l",)),
            (("h",), ("l",)),
        ]
        assert [(p.steps_of_stage, p.batch_size, p.learning_rate) for p in recipe.parts] == [
            (60_000, 32_768, 1e-4),
            (60_000, 32_768, 1e-4),
            (1_500, 8_192, 5e-6),
            (7_000, 1_024, 1e-6),
        ]
        first, finer, *_ = recipe.parts
        assert (first.steps + finer.steps, finer.steps_before) == (60_000, first.steps)
        assert recipe.steps == 68_500

    def test_what_is_given_is_the_first_stages_and_the_others_follow(self) -> None:
        recipe = jina_clip_v2("m", ["t"], ["c"], ["l"], ["h"], steps=600, batch_size=2_048, image_size=256)
        assert [p.steps_of_stage for p in recipe.parts] == [600, 600, 15, 70]
        assert [p.batch_size for p in recipe.parts] == [2_048, 2_048, 2_048, 1_024]
        assert [p.image_size for p in recipe.parts] == [112, 192, 192, 256]
        assert [p.learning_rate for p in recipe.parts] == pytest.approx([2.5e-5, 2.5e-5, 2.5e-6, 1e-6])
        faster = jina_clip_v2("m", ["t"], ["c"], ["l"], ["h"], learning_rate=1e-2)
        assert [p.learning_rate for p in faster.parts] == pytest.approx([1e-2, 1e-2, 5e-4, 1e-4])

    def test_one_step_has_no_second_part(self) -> None:
        assert [p.steps for p in jina_clip_v2("m", ["t"], ["c"], ["l"], ["h"], steps=1).parts] == [1, 1, 1]

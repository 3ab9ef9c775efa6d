"""The losses of one batch of nano's training, and their weighted sum."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from polylens.lab.nano.data.examples import ImageBatch
from polylens.lab.nano.data.grounding import READING_POINTS
from polylens.lab.nano.distillation.lesson_batches import LessonBatch
from polylens.lab.nano.distillation.objective import lesson_losses
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.trainee import Trainee, capture_inputs
from polylens.models.protocol import Outputs
from polylens.train.losses import batched_maxsim, caption_nce, grounding_nce, info_nce, matryoshka_nce, reading_loss


def compute_lesson_losses(trainee: Trainee, batch: LessonBatch, recipe: Recipe, wanted: Tensor) -> dict[str, Tensor]:
    """The losses of a step on lessons, and their weighted sum as `total`.

    Args:
        trainee: The model that learns.
        batch: The texts, unpacked.
        recipe: Its weights.
        wanted: What the dense vectors should be, see `Schooling.wanted`.
    """
    assert recipe.distillation is not None
    found = trainee.model.embed(batch.items)
    dims = recipe.model.matryoshka_dims
    losses = lesson_losses(found, wanted, batch.num_pairs, recipe.distillation, dims, batch.english_asks)
    return {**losses, "total": recipe.weights.lesson * losses["total"]}


def compute_losses(trainee: Trainee, batch: ImageBatch, recipe: Recipe) -> dict[str, Tensor]:
    """The weighted sum of the losses as `total`, and each of them; no reading loss where the tower is frozen.

    Pictures and passages stand among the documents together: a query must prefer its own picture to any text and its
    own text to any picture, which keeps the scores of both kinds comparable. A batch may have no pictures.
    """
    with capture_inputs(trainee.reading_module) as read_rows, capture_inputs(trainee.grounding_module) as cell_rows:
        if batch.queries:
            documents = trainee.model.embed([*batch.images, *batch.passages])
        else:
            trainee.forward_vision(batch.images)
    losses = {}
    if len(batch.letters) and trainee.reader.weight.requires_grad:
        losses.update(_reading_losses(trainee, batch, read_rows[0]))
    if batch.queries:
        queries = trainee.model.embed(batch.queries)
        losses.update(search_losses(queries, documents, batch, recipe))
        if batch.here.shape[1]:
            vectors = trainee.grounding_vectors(queries, documents, cell_rows[0], batch.images)
            here, same = (places.to(queries.dense.device) for places in (batch.here, batch.same))
            losses["grounding"] = grounding_nce(*vectors, here, same, recipe.grounding_temperature)
            if recipe.weights.alignment and len(batch.transcribed):
                losses["alignment"] = _alignment_loss(documents, vectors[1], batch)
    if recipe.weights.echo and batch.queries and len(batch.transcribed):
        losses["echo"] = _echo_loss(documents, batch)
    shares = asdict(recipe.weights)
    total = torch.stack([share * losses[name] for name, share in shares.items() if name in losses]).sum()
    return {"total": total, **losses}


def _alignment_loss(documents: Outputs, cells: Tensor, batch: ImageBatch) -> Tensor:
    """1 - cosine of each cell with the mean of the tokens drawn there, which are those of the picture's transcript.

    So a picture says token by token what its text says, in whichever language it is asked for.

    Args:
        documents: The model's outputs for the pictures, and the texts after them.
        cells: The cells of the pictures, unit rows `[cells, E]`.
        batch: Its `transcribed` has the places.
    """
    assert documents.multivector is not None
    token, cell = batch.transcribed.to(cells.device).unbind(1)
    first = sum(documents.lengths[: len(batch.images)])
    said = documents.multivector[first + token].detach().float()
    wanted = torch.zeros_like(cells, dtype=torch.float32).index_add(0, cell, said)
    shown = torch.unique(cell)
    return (1 - (cells[shown].float() * F.normalize(wanted[shown], dim=-1)).sum(dim=1)).mean()


def _echo_loss(documents: Outputs, batch: ImageBatch) -> Tensor:
    """1 - cosine of the dense vectors of the first pictures with those of their transcripts, the first passages."""
    told = len({passage for passage in batch.passage_of[: len(batch.image_of)] if passage is not None})
    first = len(batch.images)
    pictures, texts = documents.dense[:told], documents.dense[first : first + told].detach()
    return (1 - (pictures * texts).sum(dim=1)).mean()


def _reading_losses(trainee: Trainee, batch: ImageBatch, rows: Tensor) -> dict[str, Tensor]:
    """The reading loss of the reading blocks' output, and the share of letters that are read right."""
    features, wanted = trainee.align_letters(rows, batch.letters, batch.images)
    wanted = wanted.to(features.device)
    read = trainee.reader(F.rms_norm(features, features.shape[-1:], eps=1e-6))
    logits = read.unflatten(-1, (READING_POINTS, -1)).float()
    with torch.no_grad():
        right = (logits.argmax(dim=-1) == wanted)[wanted > 0].float().mean()
    return {"reading": reading_loss(logits, wanted), "letters": right}


def search_losses(queries: Outputs, documents: Outputs, batch: ImageBatch, recipe: Recipe) -> dict[str, Tensor]:
    """The dense loss, the late one where there is late interaction, and `recall@1`.

    That is how often a query's own picture comes first among the pictures, or its own text among the texts where there
    are no pictures.
    """
    device = queries.dense.device
    num_images, num_queries = len(batch.images), len(batch.queries)
    own_image = torch.tensor(batch.image_of, dtype=torch.long, device=device)
    about_image = torch.arange(len(own_image), device=device)
    pairs = [(query, num_images + passage) for query, passage in enumerate(batch.passage_of) if passage is not None]
    about_passage, own_passage = torch.tensor(pairs, dtype=torch.long, device=device).view(-1, 2).unbind(1)
    # what a query is about comes as a picture and as a text: when one is asked for, the other is no negative
    is_own_passage = torch.zeros(num_queries, len(documents.lengths), dtype=torch.bool, device=device)
    is_own_passage[about_passage, own_passage] = True
    is_own_image = torch.zeros_like(is_own_passage)
    is_own_image[about_image, own_image] = True
    to_image = (own_image, is_own_passage[about_image])
    to_passage = (own_passage, is_own_image[about_passage])

    dense = partial(
        matryoshka_nce,
        temperature=recipe.dense_temperature,
        dims=recipe.model.matryoshka_dims,
        both_ways=recipe.dense_both_ways,
    )
    kinds = [(about_image, to_image)] * bool(batch.images) + [(about_passage, to_passage)] * bool(batch.passages)
    parts = [dense(queries.dense[about], documents.dense, *to) for about, to in kinds]
    losses = {"dense": torch.stack(parts).sum()}
    if recipe.weights.caption:
        losses.update(_caption_loss(documents, batch, recipe))
    scores = queries.dense.detach() @ documents.dense.detach().T
    if queries.multivector is not None and documents.multivector is not None:
        owner = torch.repeat_interleave(torch.arange(num_queries), torch.tensor(queries.lengths)).to(device)
        scores = batched_maxsim(queries.multivector, owner, documents.multivector, documents.lengths, num_queries)
        parts = [info_nce(scores[about], *to, recipe.late_temperature) for about, to in kinds]
        losses["late"] = torch.stack(parts).sum()
    with torch.no_grad():
        if batch.images:
            first = (scores[about_image, :num_images].argmax(dim=1) == own_image).float().mean()
        else:
            first = (scores[about_passage].argmax(dim=1) == own_passage).float().mean()
    return {**losses, "recall@1": first}


def _caption_loss(documents: Outputs, batch: ImageBatch, recipe: Recipe) -> dict[str, Tensor]:
    """The caption loss of the pictures whose words are among the documents as a text too; none without such."""
    told = {image: text for image, text in zip(batch.image_of, batch.passage_of, strict=False) if text is not None}
    if not told:
        return {}
    pictures, texts = documents.dense[: len(batch.images)], documents.dense[len(batch.images) :]
    own_text = torch.tensor(list(told.values()), device=texts.device)
    loss = caption_nce(pictures[list(told)], texts, own_text, recipe.dense_temperature, recipe.model.matryoshka_dims)
    return {"caption": loss}

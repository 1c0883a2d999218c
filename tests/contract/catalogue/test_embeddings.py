"""User vectors over HTTP: as the recommender makes them, in both encodings."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Recommender
from service.edge.problems import ProblemBody
from service.schemas import EmbeddingsAnswer


@pytest.fixture(scope="module")
def recommender(bundle_path: Path) -> Recommender:
    return Recommender(open_bundle(bundle_path))


def embed(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    EmbeddingsAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def test_users_are_embedded_as_the_recommender_does_in_both_encodings(
    client: httpx.Client, recommender: Recommender
) -> None:
    users = ["u02500", "nobody", "u00003", "v00001"]
    expected, found = recommender.embed_users(users)
    plain = embed(client, user_ids=users)
    packed = embed(client, user_ids=users, encoding="base64")
    assert (plain["dim"], plain["bundle"]) == (expected.shape[1], recommender.bundle.id)
    for row, (entry, coded) in enumerate(zip(plain["embeddings"], packed["embeddings"], strict=True)):
        assert (entry["index"], entry["user_id"], entry["found"]) == (row, users[row], found[row])
        if not found[row]:
            assert entry["vector"] is coded["vector"] is None
            continue
        assert np.float32(entry["vector"]).tolist() == expected[row].tolist()
        assert np.frombuffer(base64.b64decode(coded["vector"]), "<f4").tolist() == expected[row].tolist()


def test_source_vectors_are_carried_over(client: httpx.Client, recommender: Recommender) -> None:
    vectors = np.asarray(recommender.bundle.source_users.vectors[2500:2503])
    answer = embed(client, vectors=vectors.tolist())
    assert [entry["vector"] for entry in answer["embeddings"]] == [
        pytest.approx(row) for row in recommender.embed_vectors(vectors).tolist()
    ]
    # A cold user's own vector, sent along, is the same as naming the user.
    assert answer["embeddings"][0]["vector"] == embed(client, user_ids=["u02500"])["embeddings"][0]["vector"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"user_ids": []}, "/user_ids"),
        ({"user_ids": ["u"], "vectors": [[1.0]]}, ""),
        ({"user_ids": ["u"] * 1025}, "/user_ids"),
        ({"vectors": [[0.0] * 8, [1.0]]}, "/vectors/1"),
        ({"vectors": [[1e300] * 8]}, "/vectors/0"),
        ({"vectors": [["1"] * 8]}, "/vectors/0/0"),
        ({"user_ids": ["u"], "encoding": "hex"}, "/encoding"),
    ],
)
def test_embeddings_refuse_what_is_wrong(client: httpx.Client, body: dict[str, Any], pointer: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    found = ProblemBody.model_validate_json(response.content)
    assert response.status_code == found.status == 422
    assert found.errors[0].pointer == pointer


def test_an_overflow_is_no_vector_rather_than_infinity(client: httpx.Client) -> None:
    answer = embed(client, vectors=[[3e38] * 8, [0.0] * 8])
    assert [entry["found"] for entry in answer["embeddings"]] == [False, True]
    assert answer["embeddings"][0]["vector"] is None

"""What a server says produced an answer makes it again."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving import Server, llstore, serving

PROMPTS = ("Name the capital of France.", "What is a river?", "Count to five.")


def receipt_of(server: Server, prompt: str) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 6, "temperature": 1, "receipt": True}
    with server.client() as client:
        found: dict[str, Any] = client.post("/v1/chat/completions", json=body).json()["receipt"]
    return found


def test_a_receipt_of_an_exact_server_replays_to_the_token_whoever_shared_it(smollm2: Path, tmp_path: Path) -> None:
    flags = ("--exact", "--parallel", "3", "--ctx", "512")
    with serving(tmp_path / "home", smollm2, *flags) as server, ThreadPoolExecutor() as clients:
        receipts = list(clients.map(lambda prompt: receipt_of(server, prompt), PROMPTS))
    for receipt in receipts:
        (tmp_path / "receipt.json").write_text(json.dumps(receipt))
        made = len(receipt["output"]["tokens"])
        assert llstore(tmp_path / "home", "replay", tmp_path / "receipt.json").stdout == f"same: {made} tokens\n"

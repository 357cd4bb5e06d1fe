"""`saa migrate` beside a server that is used: it follows what is written, and both are equal at the end."""

from __future__ import annotations

import json
import signal

from super_advanced_agents import RemoteAgent


def test_migrate_follows_a_server_in_use_until_it_is_told_to_finish(machine, new_machine, tmp_path):
    """What was written, changed and deleted meanwhile is in the target; the server goes on as before."""
    target = tmp_path / "target"
    arguments = ("migrate", "--from", f"faiss:{machine.data_dir}", "--to", f"faiss:{target}", "--json")
    with machine.server() as client:
        url, key = client.startup_info["url"], client.startup_info["admin_key"]
        with RemoteAgent(url, "guide", api_key=key) as agent:
            agent.add_text_memories([{"text": f"fact {n}", "uid": f"u{n:02}"} for n in range(50)])
            with new_machine(tmp_path / "notes").start(*arguments, "--follow") as process:
                assert "Following the source" in process.stderr.readline()
                agent.add_text_memory("The Louvre is a museum in Paris", uid="louvre")
                agent.update_memory("u01", text="another fact")
                agent.forget(["u02", "u03"])
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=120)
            assert process.returncode == 0, stderr
            report = json.loads(stdout)
            assert report["equal"]
            assert {each["namespace"]: each["records"] for each in report["namespaces"]} == {"guide": 49}
            assert agent.count() == 49
    moved = new_machine(target)
    [match] = moved.json("search", "museum", "--agent", "guide", "-k", 1)["results"]
    assert match["uid"] == "louvre"

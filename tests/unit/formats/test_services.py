"""Test how the exports of chat services and agent frameworks become turns and memories."""

from __future__ import annotations

import pytest

from super_advanced_agents.formats import Part, PassedOver

NOON = "2024-03-01T12:00:00Z"


def _turns(items):
    return [(item.speaker, item.text) for item in items if isinstance(item, Part)]


def _node(key, parent, children, role=None, text="", **content):
    message = None if role is None else {
        "id": key, "author": {"role": role}, "create_time": 1_700_000_000.5,
        "content": {"content_type": "text", "parts": [text], **content},
    }  # fmt: skip
    return {"id": key, "parent": parent, "children": children, "message": message}


def test_chatgpt_conversation_is_the_branch_that_was_seen_last(parse):
    """Other branches of its tree are edits that the user gave up."""
    nodes = [
        _node("root", None, ["sys"]),
        _node("sys", "root", ["q"], "system", "Be kind."),
        _node("q", "sys", ["old", "new"], "user", "What is a kiwi?"),
        _node("old", "q", [], "assistant", "A bird."),
        _node("new", "q", ["tool"], "assistant", "A fruit."),
        _node("tool", "new", ["end"], "tool", "{}"),
        _node("end", "tool", [], "assistant", content_type="thoughts", parts=[]),
    ]
    export = [{"title": "Pets", "conversation_id": "c1", "current_node": "end", "mapping": {n["id"]: n for n in nodes}}]
    items = parse.items(export, "conversations.json")
    question, answer = [item for item in items if isinstance(item, Part)]
    assert (question.speaker, question.text, answer.text) == ("user", "What is a kiwi?", "A fruit.")
    assert (question.session, question.scope, question.key) == ("c1", "everywhere", "q")
    assert question.created_at == "2023-11-14T22:13:20+00:00"
    assert question.metadata == {"title": "Pets"}
    assert [item.what for item in items if isinstance(item, PassedOver)] == [
        "messages of other branches",
        "system and tool messages",
        "system and tool messages",
        "messages without text",
    ]


def test_chatgpt_messages_to_tools_and_marks_of_sources_are_left_out(parse):
    """Nobody said them; what was spoken aloud stands in a part of its own."""
    nodes = [
        _node("a", None, ["b"], "user", parts=[{"content_type": "audio_transcription", "text": "Look it up"}]),
        _node("b", "a", ["c"], "assistant", "search(1)"),
        _node("c", "b", [], "assistant", "It is blue \ue200cite\ue202turn0\ue201."),
    ]
    nodes[1]["message"]["recipient"] = "web"
    export = [{"conversation_id": "c", "current_node": "c", "mapping": {node["id"]: node for node in nodes}}]
    assert _turns(parse.items(export, "c.json")) == [("user", "Look it up"), ("assistant", "It is blue .")]


def test_chatgpt_message_without_a_time_has_that_of_its_conversation_and_ratings_are_passed_over(parse):
    """A rating is a form of the service, in a file beside the conversations."""
    node = _node("a", None, [], "user", "Hello")
    node["message"]["create_time"] = None
    export = [{"conversation_id": "c", "create_time": 1_700_000_000, "current_node": "a", "mapping": {"a": node}}]
    [turn] = parse.parts(export, "conversations.json")
    assert turn.created_at == "2023-11-14T22:13:20+00:00"
    rating = {"id": "1", "conversation_id": "c", "rating": "thumbs_up", "content": '{"tags": []}'}
    [item] = parse.items([rating], "message_feedback.json")
    assert item == PassedOver("ratings of messages")


def test_chatgpt_tree_with_a_circle_ends(parse):
    """A damaged export must not hang the import."""
    nodes = {"a": _node("a", "b", ["b"], "user", "one"), "b": _node("b", "a", ["a"], "user", "two")}
    assert len(parse.items([{"mapping": nodes, "current_node": "a"}], "c.json")) == 2


def test_claude_conversation_is_a_session_of_turns(parse):
    """Parts for tools stand between the texts of a message."""
    export = [
        {
            "uuid": "c1",
            "name": "Garden",
            "chat_messages": [
                {"uuid": "m1", "sender": "human", "text": "When to sow?", "created_at": NOON},
                {
                    "uuid": "m2", "sender": "assistant", "text": "", "created_at": NOON,
                    "content": [{"type": "tool_use", "input": {}}, {"type": "text", "text": "In May."}],
                },
                {"uuid": "m3", "sender": "assistant", "text": "", "content": []},
            ],
        }
    ]  # fmt: skip
    items = parse.items(export, "conversations.json")
    assert _turns(items) == [("user", "When to sow?"), ("assistant", "In May.")]
    assert (items[0].session, items[0].key, items[0].created_at) == ("c1", "m1", NOON)
    assert isinstance(items[2], PassedOver)


def test_claude_pasted_texts_belong_to_their_messages_and_documents_to_their_projects(parse):
    """An attachment with a name is a file, which is not said."""
    pasted = {"file_name": "paste.txt", "extracted_content": "The whole letter."}
    file = {"file_name": "a.pdf", "extracted_content": "many pages"}
    message = {"uuid": "m", "sender": "human", "text": "Shorten it", "attachments": [pasted, file]}
    [turn] = parse.parts([{"uuid": "c", "name": "x", "chat_messages": [message]}], "conversations.json")
    assert turn.text == "Shorten it\n\nThe whole letter."
    project = {"uuid": "p", "name": "House", "docs": [{"filename": "roof.md", "content": "# Tiles\n\nRed."}]}
    [part] = parse.parts([project], "projects.json")
    assert (part.text, part.heading, part.metadata["project"]) == ("roof > Tiles\n\nRed.", "Tiles", "House")


def _telegram(name="Lea", number=7):
    return {
        "name": name,
        "type": "personal_chat",
        "id": number,
        "messages": [
            {"id": 1, "type": "service", "date": "2024-03-01T10:00:00", "actor": "Lea", "text": ""},
            {
                "id": 2, "type": "message", "date": "2024-03-01T11:00:00", "date_unixtime": "1709287200", "from": "Lea",
                "text": ["See ", {"type": "link", "text": "example.org"}, " now"],
            },
            {"id": 3, "type": "message", "date": "2024-03-01T11:01:00", "from": "Ivo", "text": "", "photo": "a.jpg"},
            {"id": 4, "type": "message", "date": "2024-03-01T11:02:00", "from": "Ivo", "text": "Ok",
             "reply_to_message_id": 2},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("whole_account", [False, True])
def test_telegram_chats_keep_speakers_times_and_replies(parse, whole_account):
    """Of one chat, or of all chats of an account."""
    export = {"about": "x", "chats": {"list": [_telegram(), _telegram("Bob", 8)]}} if whole_account else _telegram()
    items = parse.items(export, "result.json")
    turns = [item for item in items if isinstance(item, Part)]
    assert _turns(turns[:2]) == [("Lea", "See example.org now"), ("Ivo", "Ok")]
    assert turns[0].created_at == "2024-03-01T10:00:00+00:00"
    assert (turns[1].key, turns[1].metadata["reply_to"]) == ("4", 2)
    assert len({turn.session for turn in turns}) == (2 if whole_account else 1)
    assert all(turn.created_at[19:] for turn in turns)  # with a zone, also where only the local time is told


def test_slack_day_gets_the_names_of_users_and_threads(parse):
    """The channel is the folder; the users stand in another file of the export."""
    day = [
        {
            "type": "message",
            "user": "U1",
            "text": "Hi <@U2>, see <https://x.org|this> &amp; x",
            "ts": "1709287200.000100",
        },
        {"type": "message", "user": "U2", "text": "Yes", "ts": "1709287300.000100", "thread_ts": "1709287200.000100"},
        {"type": "message", "subtype": "channel_join", "user": "U2", "text": "<@U2> joined", "ts": "1709287000.000100"},
        {"type": "message", "bot_id": "B1", "username": "deploy", "text": "Done", "ts": "1709287400.000100"},
    ]
    users = [
        {"id": "U1", "name": "lea", "team_id": "T", "profile": {"display_name": "Lea"}},
        {"id": "U2", "name": "ivo", "team_id": "T", "real_name": "Ivo B.", "profile": {"display_name": ""}},
    ]
    items = parse.items(day, "team/general/2024-03-01.json", beside={"../users.json": users})
    assert _turns(items) == [
        ("Lea", "Hi @Ivo B., see this (https://x.org) & x"),
        ("Ivo B.", "Yes"),
        ("deploy", "Done"),
    ]
    first, reply = items[0], items[1]
    assert (first.session, first.scope, first.created_at) == ("general T", "everywhere", "2024-03-01T10:00:00+00:00")
    assert (reply.session, reply.metadata["thread"]) == ("general 1709287200.000100 T", "1709287200.000100")
    assert [type(item) for item in parse.items(users, "team/users.json")] == [PassedOver, PassedOver]


def test_slack_day_gets_names_of_users_without_profile_and_team(parse):
    """Tools that export a part of a workspace leave these members out, or damage them."""
    day = [{"type": "message", "user": f"U{n}", "text": "Hi", "ts": f"170928720{n}.000100"} for n in (1, 2, 3)]
    users = [{"id": "U1", "name": "lea"}, {"id": "U2", "profile": {"real_name": "Ivo B."}}, {"id": "U3", "team_id": []}]
    items = parse.items(day, "team/general/2024-03-01.json", beside={"../users.json": users})
    assert _turns(items) == [("lea", "Hi"), ("Ivo B.", "Hi"), ("U3", "Hi")]


def test_slack_message_of_an_application_has_its_text_in_attachments(parse):
    """Where it has no text of its own."""
    message = {
        "type": "message",
        "username": "ci",
        "text": "",
        "ts": "1709287200.000100",
        "attachments": [{"text": "Red"}],
    }
    assert _turns(parse.items([message], "team/general/2024-03-01.json")) == [("ci", "Red")]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<!channel> and <!here|here>", "@channel and here"),
        ("<!subteam^S1|@cooks>, <!date^1700000000^{date}|14 November>", "@cooks, 14 November"),
        ("<@U1> in <#C1|kitchen> &lt;3", "@Lea in #kitchen <3"),
    ],
)
def test_slack_marks_are_what_was_shown(parse, written, shown):
    """Mentions of groups and dates have labels."""
    users = [{"id": "U1", "team_id": "T1", "name": "lea", "profile": {"display_name": "Lea"}}]
    day = [{"type": "message", "user": "U1", "text": written, "ts": "1700000000.000100"}]
    [turn] = parse.parts(day, "kitchen/2023-11-14.json", beside={"../users.json": users})
    assert turn.text == shown


def test_slack_application_is_a_speaker_by_its_name_and_deleted_messages_are_passed_over(parse):
    """What stands in place of a deleted message nobody said."""
    day = [
        {
            "type": "message",
            "bot_id": "B1",
            "bot_profile": {"name": "Alarm"},
            "text": "Fire",
            "ts": "1700000000.000100",
        },
        {"type": "message", "subtype": "tombstone", "text": "This message was deleted.", "ts": "1700000001.000100"},
    ]
    turn, deleted = parse.items(day, "kitchen/2023-11-14.json")
    assert (turn.speaker, deleted) == ("Alarm", PassedOver("service messages"))


_PAGE = """<!DOCTYPE html><html><head><title>Exported Data</title></head><body><div class="page_wrap">
<div class="page_header"><div class="content"><div class="text bold">
Boat trip
</div></div></div>
<div class="page_body chat_page"><div class="history">
<div class="message service" id="message-1"><div class="body details">
1 March 2024
</div></div>
<div class="message default clearfix" id="message7"><div class="pull_left userpic_wrap"><div class="initials">
L</div></div><div class="body"><div class="pull_right date details" title="01.03.2024 18:05:09 UTC+02:00">
18:05
</div><div class="from_name">
Lea&nbsp;K.
</div><div class="text">
The <strong>key</strong> is<br>under the <a href="x">pot</a> &lt;3
</div></div></div>
<div class="message default clearfix joined" id="message8"><div class="body">
<div class="pull_right date details" title="01.03.2024 18:06:00 UTC+02:00">
18:06
</div><div class="reply_to details">
In reply to <a href="#go_to_message7" onclick="return GoToMessage(7)">this message</a>
</div><div class="forwarded body"><div class="from_name">
Ivo <span class="date details" title="29.02.2024 10:00:00">29.02.2024</span>
</div><div class="text">
Bring bread
</div></div></div></div>
<div class="message default clearfix" id="message9"><div class="body">
<div class="pull_right date details" title="01.03.2024 18:07:00">
18:07
</div><div class="from_name">
Ivo
</div><div class="media_wrap clearfix"><div class="media clearfix pull_left media_photo"></div></div></div></div>
</div></div></div></body></html>
"""


def test_telegram_pages_are_turns_with_speakers_times_and_replies(parse):
    """A joined message is of the speaker before it; a forwarded one is said by who forwards it."""
    items = parse.items(_PAGE, "ChatExport_2024-03-01/messages.html")
    service, first, second, photo = items
    assert (service, photo) == (PassedOver("service messages"), PassedOver("messages without text"))
    assert (first.speaker, first.text) == ("Lea K.", "The key is\nunder the pot <3")
    assert (first.created_at, first.session, first.scope, first.key) == (
        "2024-03-01T18:05:09+02:00", "Boat trip", "folder", "7",
    )  # fmt: skip
    assert (second.speaker, second.text, second.key) == ("Lea K.", "Bring bread", "8")
    assert second.metadata == {"title": "Boat trip", "reply_to": 7}


def test_mem0_memories_keep_their_ids_and_metadata(parse):
    """As its `get_all` returns them."""
    export = {
        "results": [{"id": "m1", "memory": "Likes tea", "hash": "x", "metadata": {"topic": "food"}, "user_id": "ann"}]
    }
    [part] = parse.parts(export, "mem0.json")
    assert (part.text, part.key, part.metadata) == ("Likes tea", "m1", {"topic": "food", "user_id": "ann"})


@pytest.mark.parametrize(
    "message",
    [
        {"type": "human", "data": {"content": "Hello", "type": "human"}},
        {"type": "human", "content": "Hello", "additional_kwargs": {}},
        {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "Hello"}},
    ],
    ids=["messages_to_dict", "model_dump", "dumpd"],
)  # fmt: skip
def test_langchain_messages_of_every_form_are_turns(parse, message):
    """Alone, in a list, and in the state of a graph."""
    tool = {"type": "tool", "content": "{}", "tool_call_id": "t"}
    for value in ([message], {"messages": [message, tool]}, {"values": {"messages": [message]}, "thread_id": "t1"}):
        assert _turns(parse.items(value, "dump.json")) == [("user", "Hello")]


def test_langgraph_checkpoint_has_its_thread_as_the_session(parse):
    """Its time is that of the checkpoint."""
    checkpoint = {
        "config": {"configurable": {"thread_id": "t1"}},
        "checkpoint": {"channel_values": {"messages": [{"type": "ai", "content": "Hello", "id": "m"}]}},
        "ts": "2024-03-01T10:00:00Z",
    }
    [turn] = parse.parts(checkpoint, "checkpoint.json")
    assert (turn.speaker, turn.session, turn.scope, turn.created_at) == (
        "assistant",
        "t1",
        "everywhere",
        "2024-03-01T10:00:00Z",
    )


def test_langgraph_history_of_a_thread_repeats_messages_under_one_key(parse):
    """With ids or without; its first state holds none."""
    messages = [{"type": "human", "content": "a"}, {"type": "ai", "content": "b"}]
    config = {"configurable": {"thread_id": "t"}}
    states = [{"values": {"messages": messages[:n]}, "config": config} for n in (2, 1, 0)] + [
        {"values": {}, "config": config}
    ]
    items = parse.items(states, "history.json")
    turns = [item for item in items if isinstance(item, Part)]
    assert [turn.text for turn in turns] == ["a", "b", "a"]
    assert turns[0].key == turns[2].key != turns[1].key
    assert sum(isinstance(item, PassedOver) for item in items) == 2


def test_langgraph_store_items_and_langchain_documents_are_memories(parse):
    """An item's text is one of its fields, or its value as JSON."""
    items = [
        {
            "namespace": ["ann"],
            "key": "k1",
            "value": {"text": "Likes tea", "n": 1},
            "created_at": "2024-01-01T00:00:00Z",
        },
        {"namespace": ["ann"], "key": "k2", "value": {"likes": "tea"}},
        {"page_content": "Body", "metadata": {"source": "a.pdf", "page": 3}, "type": "Document", "id": None},
    ]
    first, second, document = parse.parts(items, "store.json")
    assert (first.text, first.metadata["store_key"], first.metadata["n"]) == ("Likes tea", "k1", 1)
    assert second.text == '{"likes": "tea"}'
    assert (document.text, document.source, document.metadata) == ("Body", "a.pdf", {"page": 3})


def test_long_answer_becomes_several_turns_of_its_speaker(parse):
    """An embedding model reads about a thousand characters."""
    answer = "\n\n".join(f"Paragraph {n}. " + "Some words. " * 40 for n in range(8))
    turns = parse.parts([{"role": "assistant", "content": answer, "id": "m"}], "chat.json")
    assert len(turns) > 3
    assert {turn.speaker for turn in turns} == {"assistant"}
    assert len({turn.key for turn in turns}) == len(turns)
    assert "".join("".join(turn.text.split()) for turn in turns) == "".join(answer.split())

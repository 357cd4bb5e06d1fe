"""Test how text exports of messengers and mails become turns."""

from __future__ import annotations

import pytest

from super_advanced_agents.formats import Part, PassedOver, Problem

FIRST = ("2024-03-01T18:05:09", "2024-03-01T18:05:00")


@pytest.mark.parametrize(
    "begin",
    [
        "[01/03/2024, 18:05:09] ",
        "\u200e[01.03.24, 18:05:09] ",
        "[01/03/2024, 6:05:09\u202fPM] ",
        "01/03/2024, 18:05 - ",
        "01.03.24, 18:05 - ",
        "1/3/24, 6:05 pm - ",
        "2024-03-01, 18:05 - ",
        "[2024-03-01 18:05:09] ",
        "1/3/24, 6:05 p.\u00a0m. - ",
        "01/03/2024 18:05 - ",
        "01/03/2024 à 18:05 - ",
        "1.3.2024 klo 18.05 - ",
        "[2024/3/1 下午6:05:09] ",
        "2024년 3월 1일 오후 6:05, ",
        "[2024. 3. 1. 오후 6:05:09] ",
        "2024. 03. 01. 18:05 - ",
        "1. 3. 2024 18:05 - ",
        "1.03.24 г., 18:05 ч. - ",  # noqa: RUF001 - Cyrillic
        "2024年3月1日 18:05 - ",
        "1/3/2567 18:05 - ",
        "\u200f١\u200f/٣\u200f/٢٠٢٤، ٦:٠٥ م - ",  # noqa: RUF001 - Arabic digits
    ],
)
def test_every_layout_of_a_messenger_is_read(parse, begin):
    """The time gets the zone of this machine, since the file tells none."""
    colon = " :" if "년" in begin else ":"
    [turn] = parse.parts(f"{begin}Lea{colon} the key is under the pot\n", "_chat.txt")
    assert (turn.speaker, turn.text) == ("Lea", "the key is under the pot")
    assert turn.created_at[:19] in FIRST
    assert len(turn.created_at) == 25


def test_a_chat_with_one_long_message_near_its_beginning_is_a_chat(parse):
    """A recipe of fifty lines is what somebody said, and no sign of another format."""
    recipe = "\n".join(f"step {n}" for n in range(50))
    said = "".join(f"01/03/2024, 18:{n:02} - Ivo: message {n}\n" for n in range(10))
    turns = parse.parts(f"01/03/2024, 17:00 - Lea: Dumplings\n{recipe}\n{said}", "_chat.txt")
    assert [turn.speaker for turn in turns] == ["Lea"] + ["Ivo"] * 10
    assert turns[0].text == f"Dumplings\n{recipe}"


def test_the_order_of_day_and_month_is_that_of_the_whole_file(parse):
    """One date that can only be read one way decides for all."""
    american = parse.parts("3/4/24, 10:00 - A: x\n3/24/24, 10:00 - A: y\n", "_chat.txt")
    assert [turn.created_at[:10] for turn in american] == ["2024-03-04", "2024-03-24"]
    bare = parse.parts("3/4/24, 10:00 AM - A: x\n", "_chat.txt")
    assert [turn.created_at[:10] for turn in bare] == ["2024-03-04"]
    european = parse.parts("3/4/24, 10:00 - A: x\n24/4/24, 10:00 - A: y\n", "_chat.txt")
    assert [turn.created_at[:10] for turn in european] == ["2024-04-03", "2024-04-24"]


def test_a_message_of_several_lines_is_one_turn(parse):
    """A colon in it is no sender."""
    text = "[01/03/2024, 18:00:00] Lea: list:\r\nmilk: 2\r\n\r\nbread\r\n[01/03/2024, 18:01:00] Ivo: ok\r\n"
    first, second = parse.parts(text, "_chat.txt")
    assert (first.text, first.line, first.end_line) == ("list:\nmilk: 2\n\nbread", 1, 4)
    assert (second.speaker, second.line) == ("Ivo", 5)


def test_service_messages_and_omitted_media_are_passed_over(parse):
    """They hold no words of anybody."""
    text = (
        "01/03/2024, 18:00 - Messages and calls are end-to-end encrypted.\n"
        "01/03/2024, 18:01 - Lea: <Media omitted>\n01/03/2024, 18:02 - Lea: hello\n"
    )
    items = parse.items(text, "_chat.txt")
    assert [type(item) for item in items] == [PassedOver, PassedOver, Part]
    marked = (
        "[01/03/2024, 18:00:00] Lea: \u200eBild weggelassen\n"
        "[01/03/2024, 18:01:00] Lea: \u200e<attached: 1-PHOTO.jpg>\n"
        "[01/03/2024, 18:02:00] Lea: hello \u200e<This message was edited>\n"
    )
    first, second, third = parse.items(marked, "_chat.txt")
    assert isinstance(first, PassedOver)
    assert isinstance(second, PassedOver)
    assert third.text == "hello"


def test_a_text_with_a_date_in_it_is_no_chat(parse):
    """Only a file whose lines begin messages is."""
    assert parse.format("[01/03/2024, 18:00] Meeting notes\nwords\nwords\nwords\nwords\n", "a.txt") == "text"


MBOX = b"""From ann@example.org Fri Mar  1 10:00:00 2024
From: Ann Lee <ann@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Date: Fri, 1 Mar 2024 10:00:00 +0100
Message-ID: <1@example.org>
Content-Type: text/plain; charset="iso-8859-1"
Content-Transfer-Encoding: quoted-printable

Caf=E9 at nine?
>From the harbour.

From bob@example.org Fri Mar  1 11:00:00 2024
From: bob@example.org
Subject: Re: hello
Date: Fri, 1 Mar 2024 11:00:00 +0000
Message-ID: <2@example.org>
References: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=x

--x
Content-Type: text/html

<p>Yes, <b>gladly</b>.</p>
--x--

From nobody Fri Mar  1 11:00:00 2024
From: nobody@example.org
Content-Type: image/png
Content-Transfer-Encoding: base64

iVBORw0KGgo=
"""


def test_mails_of_a_mailbox_are_turns_of_threads(parse):
    """Encoded subjects and bodies are decoded, and a reply is in the session of what it answers."""
    first, reply, picture = parse.items(MBOX, "inbox")
    assert (first.speaker, first.text) == ("Ann Lee", "Grüße\n\nCafé at nine?\nFrom the harbour.")
    assert (first.created_at, first.session, first.key) == (
        "2024-03-01T10:00:00+01:00",
        "1@example.org",
        "1@example.org",
    )
    assert (first.line, reply.line) == (1, 12)
    assert (reply.speaker, reply.text, reply.session) == (
        "bob@example.org",
        "Re: hello\n\nYes, gladly.",
        "1@example.org",
    )
    assert isinstance(picture, PassedOver)


def test_a_mail_without_a_zone_is_in_utc_and_one_of_an_unknown_character_set_is_read(parse):
    """RFC 5322: "-0000" is a time in UTC."""
    data = b"From: a@b\nDate: Fri, 01 Mar 2024 18:00:00 -0000\nContent-Type: text/plain; charset=none\n\nhello\n"
    [turn] = parse.parts(data, "one.eml")
    assert (turn.text, turn.created_at) == ("hello", "2024-03-01T18:00:00+00:00")


def test_a_mail_that_stands_twice_in_two_mailboxes_has_one_key(parse):
    """Sent and received copies, and exports of several labels."""
    first, *_ = parse.items(MBOX, "sent")
    second, *_ = parse.items(MBOX, "all")
    assert (first.key, first.is_global) == (second.key, True)


def test_a_damaged_mail_is_a_problem_or_read_and_the_next_is_read(parse):
    """The standard library's parser fails in many ways."""
    data = b"From x\nFrom: a@b\nContent-Type: text/plain; charset=nonsense\n\nhello\n\nFrom y\nFrom: c@d\n\nfine\n"
    damaged, fine = parse.items(data, "inbox.mbox")
    assert isinstance(damaged, Problem | Part)
    assert fine.text == "fine"


def test_a_single_mail_is_read(parse):
    """It is recognized by its ending."""
    [turn] = parse.parts(b"From: Ann <a@b.org>\nSubject: Hi\n\nhello\n", "one.eml")
    assert (turn.speaker, turn.text) == ("Ann", "Hi\n\nhello")


def test_a_mail_whose_plain_text_is_empty_has_that_of_its_page(parse):
    """Newsletters are sent like that."""
    mail = (
        "From: Lea <lea@example.com>\nSubject: News\nContent-Type: multipart/alternative; boundary=x\n\n"
        "--x\nContent-Type: text/plain\n\n \n--x\nContent-Type: text/html\n\n<p>The <b>key</b> is here.</p>\n--x--\n"
    )
    [turn] = parse.parts(mail, "a.eml")
    assert turn.text == "News\n\nThe key is here."

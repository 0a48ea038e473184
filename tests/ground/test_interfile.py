import pytest

from csrd.errors import InputError
from csrd.io.interfile import MAX_BYTES, InterfileHeader, whole_pair

TEXT = (
    "; written by hand\r\n!INTERFILE  :=\r\n!Originating System:=HRRT\r\n"
    "energy window lower level [1] := 400 \r\n%comment := a := b; c\r\nempty :=\r\n"
    "name of data file := a.l64\r\n"
    "sonderzeichen := M\xfcnchen\r\n!END OF INTERFILE :=\r\n"
)


def test_keys_are_found_without_prefix_case_and_spaces():
    header = InterfileHeader(TEXT)
    assert header["originating system"] == "HRRT"
    assert header["ENERGY WINDOW lower level[1]"] == "400"
    assert header["comment"] == "a := b; c"
    assert header["empty"] == ""
    assert "written by hand" not in header and "absent" not in header
    assert list(header)[:3] == ["INTERFILE", "Originating System", "energy window lower level [1]"]
    assert len(header) == 8


def test_replacing_changes_only_the_named_lines():
    header = InterfileHeader(TEXT).replace({"Name of data file": "b.l64", "thinning seed": 1})
    expected = TEXT.replace("a.l64", "b.l64").replace("!END", "thinning seed := 1\r\n!END")
    assert header.encode() == expected.encode("latin-1")
    assert header["thinning seed"] == "1"


def test_replacing_twice_is_replacing_once():
    once = InterfileHeader(TEXT).replace({"drf": 4})
    assert once.replace({"drf": 4}).text == once.text


def test_an_unended_last_line_gets_its_end():
    assert InterfileHeader("!INTERFILE\na := 1").replace({"b": 2}).text == "!INTERFILE\na := 1\nb := 2\n"


def test_the_last_of_repeated_keys_counts_and_all_are_replaced():
    header = InterfileHeader("!INTERFILE\na := 1\n!A := 2\n")
    assert header["a"] == "2"
    assert header.replace({"a": 3}).text == "!INTERFILE\na := 3\n!A := 3\n"


def test_a_read_header_is_written_back_to_the_byte(tmp_path):
    path = tmp_path / "a.hdr"
    path.write_bytes(TEXT.encode("latin-1"))
    assert InterfileHeader.read(path).encode() == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; check the path"),
        (b"!INTERFILE\n" + b";" * MAX_BYTES, f"is larger than {MAX_BYTES} bytes"),
        (b"", "does not begin with !INTERFILE"),
        (bytes(range(256)), "does not begin with !INTERFILE"),
    ],
)
def test_what_is_no_header_is_refused(tmp_path, content, message):
    path = tmp_path / "a.hdr"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        InterfileHeader.read(path)
    assert str(path) in str(caught.value)


def test_a_pair_is_written_whole_or_not_at_all(tmp_path):
    def write(fail):
        with whole_pair(tmp_path / "a.l64") as (data, header):
            data.write_bytes(b"data")
            header.write_bytes(b"header")
            assert not fail

    with pytest.raises(AssertionError):
        write(fail=True)
    assert not list(tmp_path.iterdir())
    write(fail=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.l64", "a.l64.hdr"]

"""Files are read as they come, or refused with a reason; never misread."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fl.data import sources
from fl.data.sources import column_names, data_folder, filed, read, row_count
from fl.data.sources_files import Files
from fl.data.table import Table
from fl.errors import InputError

ROWS = pd.DataFrame({"age": [31, 42], "city": ["Ulm, Süd", "上海"], "spend": [1.5, None]})


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_is_read_whatever_its_separator_mark_and_line_ends(
    separator: str, encoding: str, end: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    ROWS.to_csv(path, sep=separator, encoding=encoding, index=False, lineterminator=end)
    pd.testing.assert_frame_equal(read(path), ROWS)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".data", ".CSV"])
def test_a_text_table_may_have_any_of_these_endings(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    ROWS.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read(path), ROWS)


def test_parquet_and_a_frame_give_the_same_rows(tmp_path: Path) -> None:
    ROWS.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "a.parquet"), ROWS)
    moved = ROWS.set_axis([7, 3])
    pd.testing.assert_frame_equal(read(moved), ROWS)
    assert moved.index.tolist() == [7, 3]


def test_a_table_of_one_column_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("age\n31\n42\n")
    assert read(tmp_path / "a.csv").to_dict("list") == {"age": [31, 42]}


@pytest.mark.parametrize(
    "text",
    [
        "id,note\n1,a\n2,b\n",
        "id,note\r\n1,a\r\n2,b",
        '\ufeff id ; "no;te" \n1;"two\nlines"\n\n2;""\n  \n;\n',
        "id\n1\n\n2\n3\n4\n5\n",
        "id\tnote\n1\tNA\n",
        "id,note\n",
    ],
)
def test_names_and_number_of_rows_are_those_that_reading_gives(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK", 2)
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    rows = read(path, empty=True)
    assert column_names(path) == tuple(rows.columns)
    assert row_count(path) == len(rows)


def test_a_parquet_file_s_index_is_none_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    ROWS.rename(columns={"age": " age "}).set_axis([7, 3]).to_parquet(path)
    assert column_names(path) == tuple(read(path).columns) == (" age ", "city", "spend")
    assert row_count(path) == 2
    with Files().open(tmp_path) as reader:
        names = reader.columns("a.parquet")
        assert names == ("age", "city", "spend")
        assert len(reader.read("a.parquet", names)) == reader.count("a.parquet") == 2


def test_names_are_read_from_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,city\n" + b"1,Ulm\n" * 100_000 + b"2,K\xf6ln\n")
    assert column_names(path) == ("id", "city")
    for whole in (read, row_count):
        with pytest.raises(InputError, match=r"cannot read 'a\.csv' as a table"):
            whole(path)


BAD = {
    "empty.csv": (b"", "cannot read 'empty.csv' as a table: No columns to parse"),
    "header.csv": (b"a,b\n", "'header.csv' has no rows"),
    "long.csv": (b"a,b\n1,2,9\n3,4,9\n", "more cells than its header"),
    "trailing.csv": (b"a,b\n1,2,\n3,4,\n", "more cells than its header"),
    "ragged.csv": (b"a,b\n1,2\n3,4,5\n", "cannot read 'ragged.csv' as a table"),
    "latin.csv": ("a,b\nK\u00f6ln,2\n".encode("latin-1"), "cannot read 'latin.csv' as a table"),
    "wrong.parquet": (b"a,b\n1,2\n", "cannot read 'wrong.parquet' as a table"),
    "sheet.xlsx": (b"a,b\n1,2\n", "'sheet.xlsx' is neither CSV nor Parquet"),
    "table": (b"a,b\n1,2\n", "'table' is neither CSV nor Parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_table_is_refused(name: str, tmp_path: Path) -> None:
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        read(tmp_path / name)
    assert refused.value.field == "data.path"
    assert said in refused.value.problem
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=r"data\.path: no file"):
            read(path)


def test_a_filed_set_that_is_not_there_says_who_offers_it_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CROSSBRAND_DATA", raising=False)
    assert data_folder() is None
    for folder in (None, tmp_path):
        if folder:
            monkeypatch.setenv("CROSSBRAND_DATA", str(folder))
        with pytest.raises(InputError) as refused:
            filed("shop", "rows.csv", "Shop Sessions", "UCI, no. 1")
        said = str(refused.value)
        assert all(
            part in said
            for part in ("'Shop Sessions'", "UCI, no. 1", "FOLDER/shop/rows.csv", "CROSSBRAND_DATA")
        )
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/rows.csv").touch()
    assert filed("shop", "rows.csv", "", "") == tmp_path / "shop/rows.csv"


# --- the user's own table -------------------------------------------------------------------------


def table(text: str, tmp_path: Path, **options: object) -> Table:
    (tmp_path / "a.csv").write_text(text)
    return Table(path=str(tmp_path / "a.csv"), label="y", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("true", "false"), ("Yes", "No"), ("TRUE", "FALSE"), ("1.0", "0.0")]
)
def test_the_usual_pairs_of_labels_are_understood(yes: str, no: str, tmp_path: Path) -> None:
    data = table(f"x,y\n1,{yes}\n2,{no}\n", tmp_path).load()
    assert data.schema.positives(data.rows).tolist() == [True, False]


def test_other_labels_can_be_named(tmp_path: Path) -> None:
    text = "x,y\n1,2\n2,3\n3,4\n"
    data = table(text, tmp_path, positive="3", negative=("2", "4")).load()
    assert data.schema.positives(data.rows).tolist() == [False, True, False]


def test_a_column_of_unstated_kind_is_numbers_only_if_all_its_cells_are(tmp_path: Path) -> None:
    text = "a,b,c,d,y\n1,1,2024-05-01,,1\n2,x,2024-05-02,,0\n"
    rows = table(text, tmp_path).load().rows
    assert rows["a"].tolist() == [1, 2]
    assert rows["b"].tolist() == ["1", "x"]
    assert rows["c"].tolist() == ["2024-05-01", "2024-05-02"]
    assert rows["d"].isna().all()
    stored = pd.DataFrame({"n": ["1.5", "2"], "t": pd.to_datetime(["2024-05-01"] * 2), "y": [0, 1]})
    stored.to_parquet(tmp_path / "a.parquet")
    rows = Table(path=str(tmp_path / "a.parquet"), label="y").load().rows
    assert rows["n"].tolist() == [1.5, 2.0]
    assert not pd.api.types.is_numeric_dtype(rows["t"])


def test_columns_that_are_no_features_may_hold_anything(tmp_path: Path) -> None:
    data = table("x,note,y\n1,inf,1\n2,,0\n", tmp_path, drop=("note",)).load()
    assert list(data.rows) == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("x,y\n1,1\n", {"brand_column": "shop"}, r"data\.brand_column: no column 'shop'"),
        ("x,y\n1,1\n", {"customer_column": "who"}, r"data\.customer_column: no column 'who'"),
        ("x,y\n,1\n", {"brand_column": "x"}, r"data\.brand_column: column 'x' is empty in 1 rows"),
        ("x,y\n,1\n", {"customer_column": "x"}, r"data\.customer_column: .* first in row 1"),
        ("x,y\n1,1\n,0\n", {}, r"data, column x, row 2: value nan is not a finite number"),
        ("x,y\n1,1\n-inf,0\n", {}, r"data, column x, row 2: value -inf"),
        (" x,x,y\n1,2,1\n", {}, r"data\.path: two columns are called 'x'"),
    ],
)
def test_a_table_that_is_not_what_was_said_is_refused(
    text: str, options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        table(text, tmp_path, **options).load()


@pytest.mark.parametrize(
    "options",
    [
        {"positive": "0"},
        {"negative": ()},
        {"drop": ("y",)},
        {"columns": {"y": {"buckets": 4}}},
        {"brand_column": "x", "customer_column": "x"},
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Expected"):
        table("x,y\n1,1\n", tmp_path, **options)


def test_words_for_nothing_are_words_in_texts_and_nothing_in_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("region , name,amount\nNA,Null,1.5\n,None,NA\nnan,Ada,2\n")
    rows = read(path, text=["name", "region"])
    assert rows.columns.tolist() == ["region", "name", "amount"]
    assert rows["region"].fillna("(empty)").tolist() == ["NA", "(empty)", "nan"]
    assert rows["name"].tolist() == ["Null", "None", "Ada"]
    assert rows["amount"].isna().tolist() == [False, True, False]
    assert rows["amount"].sum() == 3.5


def test_spaces_around_a_header_leave_texts_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("phone ,n\n0138,1\n0139,2\n")
    assert read(path, text=["phone"])["phone"].tolist() == ["0138", "0139"]

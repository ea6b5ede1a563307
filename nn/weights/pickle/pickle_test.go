package pickle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// The parts of a pickle, as torch.save writes them in protocol 2.

func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func number(n int) string {
	if int64(int32(n)) == int64(n) {
		return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func tupleOf(items ...string) string { return "(" + strings.Join(items, "") + "t" }

func numbers(n ...int) string {
	var items []string
	for _, n := range n {
		items = append(items, number(n))
	}
	return tupleOf(items...)
}

func dictOf(items ...string) string { return "}(" + strings.Join(items, "") + "u" }

func class(module, name string) string { return "c" + module + "\n" + name + "\n" }

func callOf(module, name string, args ...string) string {
	return class(module, name) + tupleOf(args...) + "R"
}

func storageOf(kind, key string, count int) string {
	return tupleOf(text("storage"), class("torch", kind), text(key), text("cpu"), number(count)) + "Q"
}

func tensorOf(storage string, offset int, shape, strides string) string {
	return callOf("torch._utils", "_rebuild_tensor_v2", storage, number(offset), shape, strides, "\x89", callOf("collections", "OrderedDict"))
}

// four is a tensor of all four elements of storage "0".
var four = tensorOf(storageOf("FloatStorage", "0", 4), 0, numbers(2, 2), numbers(2, 1))

func program(body string) string { return "\x80\x02" + body + "." }

// archiveOf is a zip archive of names and contents that follow each other.
func archiveOf(t testing.TB, method uint16, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		e, err := w.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved is an archive of a pickle and of storage "0" with 16 bytes, and of more entries.
func saved(t testing.TB, body string, more ...string) []byte {
	return archiveOf(t, zip.Store, append([]string{"a/data.pkl", program(body), "a/data/0", "0123456789abcdef"}, more...)...)
}

// legacyOf is a file in the form before PyTorch 1.6.
func legacyOf(version int, facts, body, keys string, storages ...string) string {
	return program("\x8a\x0a"+legacyMagic) + program(number(version)) + program(facts) + program(body) + program(keys) + strings.Join(storages, "")
}

func counted(n int, data string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(n))) + data
}

var littleEndian = dictOf(text("little_endian"), "\x88")

func TestParse(t *testing.T) {
	body := dictOf(text("a"), four, text("b"), tensorOf(storageOf("FloatStorage", "0", 4), 1, numbers(2), numbers(2)), text("n"), number(3), text("none"), "N")
	for what, file := range map[string][]byte{
		"archive": saved(t, body),
		"legacy":  []byte(legacyOf(1001, littleEndian, body, "]("+text("0")+"e", counted(4, "0123456789abcdef"))),
	} {
		f, err := Parse(file)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if len(f.Tensors) != 2 || f.Values["n"] != "3" || len(f.Values) != 1 {
			t.Fatalf("%s: %+v", what, f)
		}
		a, b := f.Tensors[0], f.Tensors[1]
		if a.Name != "a" || a.DType != "F32" || a.Size != 4 || !slices.Equal(a.Shape, []int{2, 2}) || a.Strides != nil || string(a.Data) != "0123456789abcdef" {
			t.Errorf("%s: %+v", what, a)
		}
		if b.Name != "b" || !slices.Equal(b.Shape, []int{2}) || !slices.Equal(b.Strides, []int{2}) || string(b.Data) != "456789abcdef" {
			t.Errorf("%s: %+v", what, b)
		}
		for _, x := range f.Tensors {
			if &x.Data[0] != &file[x.Offset] {
				t.Errorf("%s: %s does not alias the file from %d on", what, x.Name, x.Offset)
			}
		}
	}
}

// TestCalls: of all ways to call a function, each refuses those that are not known, by name; a class alone is skipped.
func TestCalls(t *testing.T) {
	for body, name := range map[string]string{
		callOf("os", "system", text("true")):                               "os.system",
		callOf("builtins", "eval", text("1")):                              "builtins.eval",
		callOf("__builtin__", "getattr", class("os", "system"), text("x")): "__builtin__.getattr",
		class("subprocess", "Popen") + tupleOf() + "\x81":                  "subprocess.Popen",
		class("subprocess", "Popen") + tupleOf() + "}\x92":                 "subprocess.Popen",
		text("os") + text("system") + "\x93" + tupleOf() + "R":             "os.system",
		callOf("torch.storage", "_load_from_bytes", text("x")):             "torch.storage._load_from_bytes",
		callOf("torch._utils", "_rebuild_sparse_tensor"):                   "torch._utils._rebuild_sparse_tensor",
		callOf("torch.hub", "load"):                                        "torch.hub.load",
		callOf("a b\x1b", "c"):                                             `"a b\x1b.c"`,
		"(S'echo'\nios\nsystem\n":                                          "instruction 0x53 is not",
		"(ios\nsystem\n":                                                   "instruction 'i'",
		"(" + class("os", "system") + "o":                                  "instruction 'o'",
		"\x82\x01":                                                         `instruction '\u0082'`,
		class("os", "system") + "}b":                                       "sets the state of os.system",
		callOf("torch._tensor", "_rebuild_from_type_v2", class("os", "system"), class("torch", "Tensor"), tupleOf(), "N"):                        "os.system",
		callOf("torch._tensor", "_rebuild_from_type_v2", class("torch._tensor", "_rebuild_from_type_v2"), class("torch", "Tensor"), tupleOf()):   "made of itself",
		callOf("torch._tensor", "_rebuild_from_type_v2", class("torch._utils", "_rebuild_tensor_v2"), class("my", "Tensor"), tupleOf(four), "N"): "my.Tensor",
		tupleOf(text("storage"), class("my", "Storage"), text("0"), text("cpu"), number(4)) + "Q":                                                "my.Storage",
	} {
		_, err := Parse(saved(t, dictOf(text("a"), body)))
		if err == nil || !strings.Contains(err.Error(), name) || len(err.Error()) > 2000 {
			t.Errorf("%q: error %v, want %q", body, err, name)
		}
	}
	f, err := Parse(saved(t, dictOf(text("a"), four, class("os", "system"), number(1), text("c"), class("pytorch_lightning.callbacks", "ModelCheckpoint"))))
	if err != nil || len(f.Tensors) != 1 {
		t.Errorf("classes that nothing calls: %+v, error %v", f, err)
	}
}

func TestDamaged(t *testing.T) {
	storage := storageOf("FloatStorage", "0", 4)
	of := func(offset int, shape, strides string) string {
		return dictOf(text("a"), tensorOf(storage, offset, shape, strides))
	}
	overlapping := saved(t, dictOf(text("a"), four, text("b"), tensorOf(storageOf("FloatStorage", "1", 4), 0, numbers(4), numbers(1))), "a/data/1", "0123456789abcdef")
	entry := bytes.LastIndex(overlapping, []byte("a/data/1")) - 46 // in the directory; it lies at the same place as a/data/0
	binary.LittleEndian.PutUint32(overlapping[entry+42:], uint32(bytes.Index(overlapping, []byte("a/data/0"))-30))
	for what, c := range map[string]struct {
		file []byte
		want string
	}{
		"a dictionary in itself":     {saved(t, "}q\x00"+text("a")+"h\x00s"), "dictionaries lie in one another, or in themselves"},
		"deep dictionaries":          {saved(t, strings.Repeat("}"+text("a"), 20)+four+strings.Repeat("s", 20)), "at most 16 deep"},
		"a name twice":               {saved(t, dictOf(text("a.b"), four, text("a"), dictOf(text("b"), four))), `tensor "a.b": the file has two tensors of this name`},
		"a long name":                {saved(t, dictOf(text(strings.Repeat("x", maxName+1)), four)), "UTF-8 of at most 1024 bytes"},
		"a name that is not UTF-8":   {saved(t, dictOf(text("\xff"), four)), "a string is not UTF-8"},
		"no dictionary":              {saved(t, number(1)), "the file holds a number; allowed: a dictionary of tensors"},
		"protocol 1":                 {archiveOf(t, zip.Store, "a/data.pkl", "\x80\x01N."), "protocol 1; allowed: 2 to 5"},
		"protocol 6":                 {archiveOf(t, zip.Store, "a/data.pkl", "\x80\x06N."), "protocol 6"},
		"no end":                     {archiveOf(t, zip.Store, "a/data.pkl", "\x80\x02}"), "the pickle is damaged at byte 3: it ends where 1 bytes more should be"},
		"nothing left":               {saved(t, ""), "lacks its operand"},
		"more than one left":         {saved(t, "NN"), "it leaves 1 values more"},
		"no mark":                    {saved(t, "t"), "lacks its mark"},
		"a mark as operand":          {saved(t, "(R"), "lacks its operand"},
		"half a pair":                {saved(t, "}("+text("a")+"u"), "a key has no value"},
		"items of a number":          {saved(t, number(1)+text("a")+"a"), "items are put into a number"},
		"an unknown instruction":     {saved(t, "\xff"), "instruction 0xff is not one of the protocols"},
		"an empty memo":              {saved(t, "h\x07"), "the memo has no value 7"},
		"a call of a number":         {saved(t, number(1)+")R"), "it calls a number with a tuple"},
		"another persistent id":      {saved(t, text("x")+"Q"), "something else than a storage"},
		"a long string":              {saved(t, "X\xff\xff\xff\x7f"), "a string of 2147483647 bytes"},
		"values without end":         {saved(t, strings.Repeat("N", maxStack+1)), "more values than any checkpoint needs"},
		"objects without end":        {saved(t, strings.Repeat("]0", maxObjects+1)), "more values than any checkpoint needs"},
		"copies of copies":           {saved(t, "}q\x00"+text("_parameters")+"h\x00s"+strings.Repeat("h\x00b", 64)), "more values than any checkpoint needs"},
		"searches without end":       {saved(t, "}("+strings.Repeat("NN", 1<<15)+"uq\x00}"+strings.Repeat("h\x00b", 1<<8)+"0"), "more values than any checkpoint needs"},
		"a shape without end":        {saved(t, of(0, tupleOf(strings.Repeat("K\x01", 1<<16)), numbers(1))), "at most 8 dimensions"},
		"a tuple as first element":   {saved(t, dictOf(text("a"), callOf("torch._utils", "_rebuild_tensor_v2", storage, tupleOf(strings.Repeat("K\x01", 1<<16)), numbers(1), numbers(1)))), "from element a tuple on"},
		"too long a pickle":          {archiveOf(t, zip.Store, "a/data.pkl", strings.Repeat("N", maxPickle+1)), "data.pkl has 33554433 bytes; allowed: at most 33554432"},
		"a first element beyond":     {saved(t, of(4, numbers(1), numbers(1))), `does not lie in its storage "0" of 4 elements`},
		"a last element beyond":      {saved(t, of(1, numbers(2, 2), numbers(2, 1))), "does not lie in its storage"},
		"a stride beyond":            {saved(t, of(0, numbers(2, 2), numbers(math.MaxInt64, 1))), "does not lie in its storage"},
		"a negative stride":          {saved(t, of(3, numbers(2), numbers(-1))), "strides and a first element from 0 on"},
		"a negative dimension":       {saved(t, of(0, numbers(-2), numbers(1))), "dimensions from 0 to 2147483647"},
		"a negative first element":   {saved(t, of(-1, numbers(1), numbers(1))), "a first element from 0 on"},
		"nine dimensions":            {saved(t, of(0, numbers(1, 1, 1, 1, 1, 1, 1, 1, 1), numbers(1, 1, 1, 1, 1, 1, 1, 1, 1))), "at most 8 dimensions"},
		"a stride too few":           {saved(t, of(0, numbers(2, 2), numbers(1))), "strides"},
		"a tensor that repeats":      {saved(t, of(0, numbers(1<<20, 1<<10), numbers(0, 0))), "repeats the 4 elements of its storage"},
		"a tensor without end":       {saved(t, of(0, numbers(1<<30, 1<<30, 1<<30), numbers(0, 0, 0))), "larger than any file"},
		"no storage":                 {saved(t, storageOf("FloatStorage", "7", 4)), `the archive has no storage "7"`},
		"a short storage":            {saved(t, storageOf("FloatStorage", "0", 5)), `storage "0" has 16 bytes, but its tensors need 20`},
		"a negative storage":         {saved(t, storageOf("FloatStorage", "0", -1)), "a storage of torch.FloatStorage, key a string, a number elements"},
		"an endless storage":         {saved(t, storageOf("DoubleStorage", "0", math.MaxInt64)), "the pickle is damaged: a storage"},
		"a storage of two sizes":     {saved(t, tupleOf(storage, storageOf("FloatStorage", "0", 3))), `storage "0" has 16 bytes in one place and 12 in another`},
		"storages over one another":  {overlapping, "lie over one another"},
		"a path as key":              {saved(t, storageOf("FloatStorage", "../data.pkl", 1)), "has no storage"},
		"no pickle":                  {archiveOf(t, zip.Store, "a/b", "x"), "a zip archive without a data.pkl; allowed: one that torch.save wrote"},
		"two pickles":                {archiveOf(t, zip.Store, "a/data.pkl", "x", "b/data.pkl", "x"), "has the pickles"},
		"an entry twice":             {archiveOf(t, zip.Store, "a/data.pkl", "x", "a/data.pkl", "x"), `has "a/data.pkl" twice`},
		"a program":                  {saved(t, dictOf(), "a/constants.pkl", "x"), "a TorchScript program: refused"},
		"big-endian":                 {saved(t, dictOf(), "a/byteorder", "big"), `byte order "big"; allowed: little`},
		"a bomb":                     {archiveOf(t, zip.Deflate, "a/data.pkl", program(dictOf(text("a"), tensorOf(storageOf("ByteStorage", "0", 1<<24), 0, numbers(1<<24), numbers(1)))), "a/data/0", strings.Repeat("\x00", 1<<24)), "16777216 bytes in"},
		"a bomb of instructions":     {archiveOf(t, zip.Deflate, "a/data.pkl", strings.Repeat("N", 1<<24)), "16777216 bytes in"},
		"legacy: another version":    {[]byte(legacyOf(1002, littleEndian, dictOf(), "]")), "torch.save's protocol 1002; allowed: 1001"},
		"legacy: big-endian":         {[]byte(legacyOf(1001, dictOf(text("little_endian"), "\x89"), dictOf(), "]")), "its tensors are big-endian"},
		"legacy: no keys":            {[]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "N")), "None where the storages' keys should be"},
		"legacy: a key too many":     {[]byte(legacyOf(1001, littleEndian, dictOf(), "]("+text("0")+"e", counted(4, "0123456789abcdef"))), `no tensor has the storage "0"`},
		"legacy: a storage missing":  {[]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "]")), `the file has no storage "0"`},
		"legacy: half a storage":     {[]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "]("+text("0")+"e", counted(4, "0123456789"))), `the file ends in storage "0" of 16 bytes`},
		"legacy: a storage twice":    {[]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "]("+text("0")+text("0")+"e", counted(4, "0123456789abcdef"))), "or it is there twice"},
		"legacy: elements that lack": {[]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "]("+text("0")+"e", counted(3, "0123456789abcdef"))), "has 3 elements, but its tensors need 16 bytes"},
		"a pickle of another":        {[]byte(program(dictOf())), "a pickle that torch.save did not write"},
	} {
		f, err := Parse(c.file)
		var perr *Error
		if !errors.As(err, &perr) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2000 {
			t.Errorf("%s: %+v, error %v, want %q", what, f, err, c.want)
		}
	}
}

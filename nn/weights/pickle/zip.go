package pickle

import (
	"archive/zip"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// archive is a zip archive that torch.save wrote: NAME/data.pkl, and NAME/data/KEY for each storage.
type archive struct {
	file     []byte
	entries  map[string]*zip.File
	prefix   string
	inflated uint64 // bytes that were compressed
	used     []extent
}

// extent is what a storage takes of the file.
type extent struct {
	begin, end int
	key        string
}

func parseZip(file []byte) (value, *Error) {
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, errorf("a zip archive whose directory, at its end, is damaged or missing, perhaps half downloaded: %v", err)
	}
	a := &archive{file: file, entries: map[string]*zip.File{}}
	for _, f := range r.File {
		if a.entries[f.Name] != nil {
			return nil, errorf("the archive has %s twice", quote(f.Name))
		}
		a.entries[f.Name] = f
		if prefix, ok := strings.CutSuffix(f.Name, "/data.pkl"); ok && !strings.Contains(prefix, "/") {
			if a.prefix != "" {
				return nil, errorf("the archive has the pickles %s and %s", quote(a.prefix+"/data.pkl"), quote(f.Name))
			}
			a.prefix = prefix
		}
	}
	switch {
	case a.prefix == "":
		return nil, &Error{What: "a zip archive without a data.pkl", Allowed: "one that torch.save wrote"}
	case a.entries[a.prefix+"/constants.pkl"] != nil:
		return nil, &Error{What: "a TorchScript program: refused", Allowed: "tensors that torch.save wrote"}
	}
	if order, err := a.small("byteorder", 16); err != nil {
		return nil, err
	} else if order != nil && string(order) != "little" {
		return nil, &Error{What: "its tensors have the byte order " + quote(string(order)), Allowed: "little"}
	}
	program, perr := a.small("data.pkl", maxPickle)
	if perr != nil {
		return nil, perr
	}
	s := &storages{byKey: map[string]*buffer{}, find: a.find}
	root, _, perr := run(program, s.load)
	if perr != nil {
		return nil, perr
	}
	return root, a.apart()
}

// small reads an entry of at most so many bytes, nil if there is none.
func (a *archive) small(name string, limit uint64) ([]byte, *Error) {
	f := a.entries[a.prefix+"/"+name]
	if f == nil {
		return nil, nil
	}
	if f.UncompressedSize64 > limit {
		return nil, &Error{What: fmt.Sprintf("the archive's %s has %d bytes", name, f.UncompressedSize64), Allowed: fmt.Sprintf("at most %d", limit)}
	}
	return a.inflate(f)
}

// find gives a buffer its bytes: the file's own where they are not compressed.
func (a *archive) find(b *buffer) *Error {
	f := a.entries[a.prefix+"/data/"+b.key]
	if f == nil {
		return errorf("the archive has no storage %s", quote(b.key))
	}
	if f.UncompressedSize64 < uint64(b.size) {
		return errorf("storage %s has %d bytes, but its tensors need %d", quote(b.key), f.UncompressedSize64, b.size)
	}
	begin, err := a.dataOffset(f)
	if err != nil {
		return err
	}
	end := begin + int(f.CompressedSize64)
	a.used = append(a.used, extent{begin, end, b.key})
	if f.Method == zip.Store {
		if f.CompressedSize64 != f.UncompressedSize64 {
			return errorf("storage %s has %d bytes, but takes %d", quote(b.key), f.UncompressedSize64, f.CompressedSize64)
		}
		b.data, b.offset = a.file[begin:end:end], begin
		return nil
	}
	b.data, err = a.inflate(f)
	b.offset = -1
	return err
}

// dataOffset is where an entry's bytes begin; they end within the file.
func (a *archive) dataOffset(f *zip.File) (int, *Error) {
	begin, err := f.DataOffset()
	if err != nil || begin < 0 || begin > int64(len(a.file)) || f.CompressedSize64 > uint64(int64(len(a.file))-begin) {
		return 0, errorf("the archive's %s does not lie in the file, it is damaged or half downloaded", quote(f.Name))
	}
	return int(begin), nil
}

// inflate reads an entry and checks its sum. All that is compressed may take a multiple of the file.
func (a *archive) inflate(f *zip.File) ([]byte, *Error) {
	if f.Method != zip.Store {
		a.inflated += f.UncompressedSize64
		if limit := maxInflated * uint64(len(a.file)); f.UncompressedSize64 > limit || a.inflated > limit {
			return nil, &Error{What: fmt.Sprintf("the archive's %s has %d bytes in %d compressed ones", quote(f.Name), f.UncompressedSize64, f.CompressedSize64),
				Allowed: fmt.Sprintf("%d times the file in all", maxInflated)}
		}
	}
	if f.UncompressedSize64 > maxInflated*uint64(len(a.file)) {
		return nil, errorf("the archive's %s has %d bytes, more than the file", quote(f.Name), f.UncompressedSize64)
	}
	r, err := f.Open()
	if err != nil {
		return nil, errorf("the archive's %s: %v", quote(f.Name), err)
	}
	defer r.Close()
	data := make([]byte, f.UncompressedSize64)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, errorf("the archive's %s: %v", quote(f.Name), err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF { // the sum is checked at the end
		return nil, errorf("the archive's %s: its sum is wrong", quote(f.Name))
	}
	return data, nil
}

// apart checks that no two storages share bytes of the file.
func (a *archive) apart() *Error {
	slices.SortFunc(a.used, func(x, y extent) int { return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end)) })
	for i := 1; i < len(a.used); i++ {
		if x, y := a.used[i-1], a.used[i]; y.begin < x.end {
			return errorf("the storages %s and %s lie over one another", quote(x.key), quote(y.key))
		}
	}
	return nil
}

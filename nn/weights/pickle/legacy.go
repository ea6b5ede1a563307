package pickle

import (
	"encoding/binary"
	"fmt"
)

// legacyMagic is the number at the start of files in the form before PyTorch 1.6, as a pickle has it.
const legacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// magic is that number on the machine's stack.
type magic struct{}

// parseLegacy reads the form before PyTorch 1.6: pickles of a magic number, a version, facts about the machine, the
// object, and the storages' keys, and behind them each storage, its number of elements first.
func parseLegacy(file []byte) (value, *Error) {
	s := &storages{byKey: map[string]*buffer{}}
	first, rest, err := run(file, s.load)
	if err != nil {
		return nil, err
	}
	if first != value(magic{}) {
		return nil, &Error{What: "a pickle that torch.save did not write (it holds " + kind(first) + ")", Allowed: "one that torch.save wrote"}
	}
	version, rest, err := run(rest, nil)
	if err != nil {
		return nil, err
	}
	if version != value(int64(1001)) {
		return nil, &Error{What: fmt.Sprintf("torch.save's protocol %v", version), Allowed: "1001"}
	}
	facts, rest, err := run(rest, nil)
	if err != nil {
		return nil, err
	}
	if d, ok := facts.(*dict); ok {
		if little, ok := d.get("little_endian"); ok && little != value(true) {
			return nil, &Error{What: "its tensors are big-endian", Allowed: "little-endian"}
		}
	}
	root, rest, err := run(rest, s.load)
	if err != nil {
		return nil, err
	}
	keys, rest, err := run(rest, nil)
	if err != nil {
		return nil, err
	}
	order, ok := keys.(*list)
	if !ok {
		return nil, errorf("the file is damaged: %s where the storages' keys should be", kind(keys))
	}
	for _, k := range order.items {
		key, _ := k.(string)
		b := s.byKey[key]
		if b == nil || b.data != nil {
			return nil, errorf("the file is damaged: no tensor has the storage %s, or it is there twice", quote(key))
		}
		if len(rest) < 8 || uint64(len(rest)-8) < uint64(b.size) {
			return nil, errorf("the file ends in storage %s of %d bytes, it is damaged or half downloaded", quote(key), b.size)
		}
		if n := binary.LittleEndian.Uint64(rest); n > uint64(b.size) || b.size > 0 && (n == 0 || uint64(b.size)%n != 0) {
			return nil, errorf("storage %s has %d elements, but its tensors need %d bytes", quote(key), n, b.size)
		}
		b.offset = len(file) - len(rest) + 8
		b.data = rest[8 : 8+b.size : 8+b.size]
		rest = rest[8+b.size:]
	}
	for key, b := range s.byKey {
		if b.data == nil && b.size > 0 {
			return nil, errorf("the file has no storage %s", quote(key))
		}
	}
	return root, nil
}

package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// The instructions that protocols 2 to 5 write, by the names of Python's pickletools.
const (
	opMark, opStop, opPop, opPopMark, opDup                       = '(', '.', '0', '1', '2'
	opBinInt, opBinInt1, opBinInt2, opNone                        = 'J', 'K', 'M', 'N'
	opBinPersID, opReduce, opBuild, opGlobal                      = 'Q', 'R', 'b', 'c'
	opBinString, opShortBinString, opBinUnicode                   = 'T', 'U', 'X'
	opAppend, opAppends, opEmptyList, opList                      = 'a', 'e', ']', 'l'
	opSetItem, opSetItems, opEmptyDict, opDict                    = 's', 'u', '}', 'd'
	opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3           = ')', 't', 0x85, 0x86, 0x87
	opBinGet, opLongBinGet, opBinPut, opLongBinPut, opMemoize     = 'h', 'j', 'q', 'r', 0x94
	opBinFloat, opNewTrue, opNewFalse, opLong1, opLong4           = 'G', 0x88, 0x89, 0x8a, 0x8b
	opProto, opFrame, opStackGlobal, opNewObj, opNewObjEx         = 0x80, 0x95, 0x93, 0x81, 0x92
	opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8        = 'B', 'C', 0x8e, 0x96
	opShortBinUnicode, opBinUnicode8                              = 0x8c, 0x8d
	opEmptySet, opAddItems, opFrozenSet                           = 0x8f, 0x90, 0x91
	opExt1, opExt2, opExt4, opNextBuffer, opInst, opObj, opPersID = 0x82, 0x83, 0x84, 0x97, 'i', 'o', 'P'
)

// machine runs one pickle.
type machine struct {
	data    []byte // what is left of the instructions and what follows them
	size    int    // of data at the start
	stack   []value
	memo    map[uint32]value
	objects int
	load    func(id value) (value, *Error) // gives what a persistent id stands for
}

// run runs the pickle at the start of data and returns its value and what follows it.
func run(data []byte, load func(id value) (value, *Error)) (v value, rest []byte, err *Error) {
	m := &machine{data: data, size: len(data), memo: map[uint32]value{}, load: load}
	for {
		if m.size-len(m.data) > maxPickle {
			return nil, nil, &Error{What: fmt.Sprintf("the pickle has more than %d bytes", maxPickle), Allowed: "that many"}
		}
		op, err := m.bytes(1)
		if err != nil {
			return nil, nil, err
		}
		if op[0] == opStop {
			break
		}
		if err := m.step(op[0]); err != nil {
			return nil, nil, err
		}
		if len(m.stack) > maxStack || len(m.memo) > maxStack || m.objects > maxObjects {
			return nil, nil, errorf("the pickle has more values than any checkpoint needs (%d on the stack, %d in the memo, %d objects)", len(m.stack), len(m.memo), m.objects)
		}
	}
	v, err = m.pop()
	if err == nil && len(m.stack) > 0 {
		err = m.damaged("it leaves %d values more than one", len(m.stack))
	}
	return v, m.data, err
}

// damaged is an error at the machine's place.
func (m *machine) damaged(format string, a ...any) *Error {
	return errorf("the pickle is damaged at byte %d: %s", m.size-len(m.data), fmt.Sprintf(format, a...))
}

// bytes takes the next n bytes.
func (m *machine) bytes(n uint64) ([]byte, *Error) {
	if n > uint64(len(m.data)) {
		return nil, m.damaged("it ends where %d bytes more should be", n)
	}
	b := m.data[:n:n]
	m.data = m.data[n:]
	return b, nil
}

// number takes a little-endian number of n bytes.
func (m *machine) number(n uint64) (uint64, *Error) {
	b, err := m.bytes(n)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// counted takes as many bytes as a number of n bytes says.
func (m *machine) counted(n uint64) ([]byte, *Error) {
	size, err := m.number(n)
	if err != nil {
		return nil, err
	}
	if size > maxPickle {
		return nil, m.damaged("a string of %d bytes", size)
	}
	return m.bytes(size)
}

func (m *machine) push(v value) *Error {
	m.stack = append(m.stack, v)
	return nil
}

// pushObject pushes a value that takes memory of its own.
func (m *machine) pushObject(v value) *Error {
	m.objects++
	return m.push(v)
}

func (m *machine) pop() (value, *Error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

func (m *machine) top() (value, *Error) {
	if len(m.stack) == 0 {
		return nil, m.damaged("an instruction lacks its operand")
	}
	v := m.stack[len(m.stack)-1]
	if _, isMark := v.(mark); isMark {
		return nil, m.damaged("an instruction lacks its operand")
	}
	return v, nil
}

// popN pops n values, the last one last.
func (m *machine) popN(n int) ([]value, *Error) {
	values := make([]value, n)
	for i := n - 1; i >= 0; i-- {
		var err *Error
		if values[i], err = m.pop(); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// popMark pops everything down to the last mark, and that.
func (m *machine) popMark() ([]value, *Error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, isMark := m.stack[i].(mark); isMark {
			values := append([]value(nil), m.stack[i+1:]...)
			m.stack = m.stack[:i]
			return values, nil
		}
	}
	return nil, m.damaged("an instruction lacks its mark")
}

// text pushes a string of UTF-8. Python lets lone surrogates pass, which no name of a tensor has.
func (m *machine) text(b []byte, err *Error) *Error {
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return m.damaged("a string is not UTF-8")
	}
	return m.pushObject(string(b))
}

// raw pushes bytes; a string of Python 2 is one.
func (m *machine) raw(b []byte, err *Error) *Error {
	if err != nil {
		return err
	}
	return m.pushObject(b)
}

// long pushes an integer of many bytes in two's complement. One of more than 64 bits is no size of anything.
func (m *machine) long(b []byte, err *Error) *Error {
	switch {
	case err != nil:
		return err
	case string(b) == legacyMagic:
		return m.push(magic{})
	case len(b) > 8:
		return m.push(opaque{})
	case len(b) == 0:
		return m.push(int64(0))
	}
	var wide [8]byte
	if b[len(b)-1] >= 0x80 {
		wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(wide[:], b)
	return m.push(int64(binary.LittleEndian.Uint64(wide[:])))
}

// integer pushes a number of n bytes, which is signed if it has four.
func (m *machine) integer(n uint64) *Error {
	v, err := m.number(n)
	if err != nil {
		return err
	}
	if n == 4 {
		return m.push(int64(int32(v)))
	}
	return m.push(int64(v))
}

// float pushes a big-endian float64.
func (m *machine) float() *Error {
	b, err := m.bytes(8)
	if err != nil {
		return err
	}
	return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
}

package pickle

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// step runs one instruction.
func (m *machine) step(op byte) *Error {
	switch op {
	case opMark:
		return m.push(mark{})
	case opNone:
		return m.push(nil)
	case opNewTrue, opNewFalse:
		return m.push(op == opNewTrue)
	case opEmptyList, opEmptySet:
		return m.pushObject(&list{})
	case opEmptyDict:
		return m.pushObject(&dict{})
	case opEmptyTuple:
		return m.push(tuple(nil))
	case opBinInt:
		return m.integer(4)
	case opBinInt1:
		return m.integer(1)
	case opBinInt2:
		return m.integer(2)
	case opLong1:
		return m.long(m.counted(1))
	case opLong4:
		return m.long(m.counted(4))
	case opBinFloat:
		return m.float()
	case opShortBinUnicode:
		return m.text(m.counted(1))
	case opBinUnicode:
		return m.text(m.counted(4))
	case opBinUnicode8:
		return m.text(m.counted(8))
	case opShortBinString:
		return m.python2(m.counted(1))
	case opBinString:
		return m.python2(m.counted(4))
	case opShortBinBytes:
		return m.raw(m.counted(1))
	case opBinBytes:
		return m.raw(m.counted(4))
	case opBinBytes8, opByteArray8:
		return m.raw(m.counted(8))
	case opProto:
		return m.protocol()
	case opFrame: // how many bytes the next instructions have; nothing depends on it
		_, err := m.bytes(8)
		return err
	case opPop, opPopMark, opDup, opBinGet, opLongBinGet, opBinPut, opLongBinPut, opMemoize:
		return m.stackStep(op)
	case opTuple1, opTuple2, opTuple3, opTuple, opList, opDict, opFrozenSet, opAppend, opAppends, opAddItems, opSetItem, opSetItems:
		return m.containerStep(op)
	case opGlobal, opStackGlobal, opReduce, opNewObj, opNewObjEx, opBuild, opBinPersID:
		return m.objectStep(op)
	case opExt1, opExt2, opExt4, opNextBuffer, opInst, opObj, opPersID:
		return errorf("the pickle has instruction %q, which no checkpoint needs: refused", op)
	}
	return m.damaged("instruction %#02x is not one of the protocols 2 to 5", op)
}

func (m *machine) protocol() *Error {
	n, err := m.number(1)
	if err == nil && (n < 2 || n > 5) {
		err = &Error{What: fmt.Sprintf("the pickle has protocol %d", n), Allowed: "2 to 5"}
	}
	return err
}

// python2 pushes a string of Python 2, which is text if it can be.
func (m *machine) python2(b []byte, err *Error) *Error {
	if err == nil && !utf8.Valid(b) {
		return m.raw(b, nil)
	}
	return m.text(b, err)
}

// stackStep moves values between stack and memo.
func (m *machine) stackStep(op byte) *Error {
	width := uint64(1)
	switch op {
	case opPop:
		if len(m.stack) == 0 {
			return m.damaged("an instruction lacks its operand")
		}
		m.stack = m.stack[:len(m.stack)-1]
		return nil
	case opPopMark:
		_, err := m.popMark()
		return err
	case opDup, opMemoize:
		v, err := m.top()
		if err != nil {
			return err
		}
		if op == opDup {
			return m.push(v)
		}
		m.memo[uint32(len(m.memo))] = v
		return nil
	case opLongBinGet, opLongBinPut:
		width = 4
	}
	n, err := m.number(width)
	if err != nil {
		return err
	}
	if op == opBinGet || op == opLongBinGet {
		v, ok := m.memo[uint32(n)]
		if !ok {
			return m.damaged("the memo has no value %d", n)
		}
		return m.push(v)
	}
	v, err := m.top()
	if err == nil {
		m.memo[uint32(n)] = v
	}
	return err
}

// containerStep makes and fills tuples, lists, sets and dictionaries.
func (m *machine) containerStep(op byte) *Error {
	var items []value
	var err *Error
	switch op {
	case opTuple1, opTuple2, opTuple3:
		items, err = m.popN(int(op-opTuple1) + 1)
	case opAppend:
		items, err = m.popN(1)
	case opSetItem:
		items, err = m.popN(2)
	default:
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	m.objects += len(items)
	switch op {
	case opTuple1, opTuple2, opTuple3, opTuple:
		return m.pushObject(tuple(items))
	case opList, opFrozenSet:
		return m.pushObject(&list{items: items})
	case opDict:
		d := &dict{}
		if err := m.setAll(d, items); err != nil {
			return err
		}
		return m.pushObject(d)
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *list:
		if op == opAppend || op == opAppends || op == opAddItems {
			v.items = append(v.items, items...)
			return nil
		}
	case *dict:
		if op == opSetItem || op == opSetItems {
			return m.setAll(v, items)
		}
	}
	return m.damaged("items are put into %s", kind(v))
}

// setAll sets keys and values that follow each other.
func (m *machine) setAll(d *dict, items []value) *Error {
	if len(items)%2 != 0 {
		return m.damaged("a key has no value")
	}
	for i := 0; i < len(items); i += 2 {
		if b, ok := items[i].([]byte); ok && utf8.Valid(b) {
			items[i] = string(b)
		}
		d.set(items[i], items[i+1])
	}
	return nil
}

// objectStep names functions and classes, and calls those of calls.
func (m *machine) objectStep(op byte) *Error {
	switch op {
	case opGlobal:
		var names [2]string
		for i := range names {
			line, _, ok := bytes.Cut(m.data[:min(len(m.data), 2*maxName)], []byte("\n"))
			if !ok || len(line) > maxName || !utf8.Valid(line) {
				return m.damaged("the name of a function or class has no end, is longer than %d bytes or not UTF-8", maxName)
			}
			names[i] = string(line)
			m.data = m.data[len(line)+1:]
		}
		return m.pushObject(&global{names[0], names[1]})
	case opBinPersID:
		id, err := m.pop()
		if err != nil {
			return err
		}
		if m.load == nil {
			return m.damaged("it refers to a storage where there is none")
		}
		v, err := m.load(id)
		if err != nil {
			return err
		}
		return m.pushObject(v)
	}
	n := 2
	if op == opNewObjEx {
		n = 3
	}
	operands, err := m.popN(n)
	if err != nil {
		return err
	}
	switch op {
	case opStackGlobal:
		module, ok := operands[0].(string)
		name, ok2 := operands[1].(string)
		if !ok || !ok2 || len(module) > maxName || len(name) > maxName {
			return m.damaged("the name of a function or class is %s and %s", kind(operands[0]), kind(operands[1]))
		}
		return m.pushObject(&global{module, name})
	case opBuild:
		if err := build(operands[0], operands[1]); err != nil {
			return err
		}
		m.objects += length(operands[0]) + length(operands[1]) // the one may grow, the other is searched
		return m.push(operands[0])
	}
	function, ok := operands[0].(*global)
	args, ok2 := operands[1].(tuple)
	if !ok || !ok2 {
		return m.damaged("it calls %s with %s", kind(operands[0]), kind(operands[1]))
	}
	v, err := call(function, args)
	if err != nil {
		return err
	}
	m.objects += length(v) // what calls copy counts, so that copies of copies have an end
	return m.pushObject(v)
}

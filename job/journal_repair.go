package job

import (
	"bytes"
	"errors"
	"log/slog"
)

// repairOpen makes the list of open jobs anew, of the order and their records. A job that was open and has no sound
// record is Failed.
func (j *Journal) repairOpen(t *txn) error {
	was := map[uint64]string{}
	err := t.Bucket(openBucket).ForEach(func(seq, id []byte) error {
		was[numberOf(seq)] = string(id)
		return nil
	})
	if err != nil {
		return err
	}
	t.wrote = true
	if err := t.DeleteBucket(openBucket); err != nil {
		return err
	}
	if _, err := t.CreateBucket(openBucket); err != nil {
		return err
	}
	lost := map[uint64]*DamagedError{}
	var bogus [][]byte // entries that lead to a job of another number
	order, last := t.Bucket(orderBucket), uint64(0)
	err = order.ForEach(func(seq, value []byte) error {
		last = numberOf(seq)
		_, id, _ := splitOrder(value)
		job, err := j.load(t.Tx, id)
		switch wasID, wasOpen := was[last]; {
		case err == nil && job.Seq != last:
			bogus = append(bogus, bytes.Clone(seq))
			return nil
		case err == nil && !job.State.Ended():
			err = errors.Join(t.put(openBucket, seq, []byte(id)), t.countOpen(1))
		case err != nil && wasOpen:
			if t.Bucket(jobsBucket).Get([]byte(wasID)) != nil {
				id = wasID // it is the order that is damaged
			}
			lost[last], err = &DamagedError{Path: j.path, ID: id, Err: err}, nil
		default:
			err = nil // it has ended, or is reported where it is read
		}
		delete(was, last)
		return err
	})
	if err != nil {
		return err
	}
	for seq, id := range was {
		if _, err := j.load(t.Tx, id); err != nil { // else the order has it, under its own number
			lost[seq] = &DamagedError{Path: j.path, ID: id, Err: errors.New("the order does not have it")}
		}
	}
	for _, seq := range bogus {
		if err := t.delete(orderBucket, seq); err != nil {
			return err
		}
	}
	if order.Sequence() < last {
		if err := order.SetSequence(last); err != nil {
			return err
		}
	}
	j.log.Error("journal: the list of open jobs was damaged and is made anew", slog.String("path", j.path), slog.Int("lost", len(lost)))
	for seq, damage := range lost {
		if err := j.failLost(t, seq, damage); err != nil {
			return err
		}
	}
	return nil
}

// failLost puts a Failed job in the place of an open one whose record can't be read.
func (j *Journal) failLost(t *txn, seq uint64, damage *DamagedError) error {
	j.log.Error("journal: the record of an open job is damaged: it has failed", slog.String("job", damage.ID), slog.String("error", damage.Err.Error()))
	if damage.ID == "" {
		return nil // nobody can ask for it
	}
	known, err := t.eraseDamaged(damage.ID)
	if err != nil {
		return err
	}
	return t.store(nil, &Job{ID: damage.ID, Owner: known.Owner, Seq: seq, State: Failed, Ended: t.now, Error: &Error{
		Kind: KindDamagedRecord, Message: "The journal's record of this job is damaged: " + damage.Err.Error(),
	}})
}

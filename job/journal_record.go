package job

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// Buckets of the journal. Numbers in keys are big-endian, so that they sort.
//
// A record begins with its CRC-32C, since bbolt has no checksums of pages. The order has it a second time: a page of
// records that is an old one, with sums that hold, is found by it.
var (
	metaBucket    = []byte("meta")    // "schema" → its version; "removed" 0x00 owner → CRC-32C, day, images: see Removed
	jobsBucket    = []byte("jobs")    // id → CRC-32C of the JSON, the JSON
	orderBucket   = []byte("order")   // seq → CRC-32C of the JSON, id; its sequence is the last seq
	ownersBucket  = []byte("owners")  // owner 0x00 seq → id
	openBucket    = []byte("open")    // seq → id, of jobs that have not ended; its sequence is their number
	endedBucket   = []byte("ended")   // time of the end, seq → CRC-32C of key and rest, bytes of the outputs, id
	keysBucket    = []byte("keys")    // owner 0x00 key → id
	blobsBucket   = []byte("blobs")   // blob 0x00 id → "o" for an output, "i" for an input
	expiredBucket = []byte("expired") // id → when it expired
	tombsBucket   = []byte("tombs")   // when it expired, id → nothing
	uploadsBucket = []byte("uploads") // blob that came without a job → owner
)

var buckets = [][]byte{
	metaBucket, jobsBucket, orderBucket, ownersBucket, openBucket, endedBucket, keysBucket, blobsBucket, expiredBucket,
	tombsBucket, uploadsBucket,
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// joined is a key of two parts, of which the first has no 0x00.
func joined(first string, second []byte) []byte {
	return append(append([]byte(first), 0), second...)
}

// encode is a job's record, and its checksum alone.
func encode(j *Job) (record, sum []byte, err error) {
	data, err := json.Marshal(j)
	if err != nil {
		return nil, nil, fmt.Errorf("job: the record of job %s: %w", j.ID, err)
	}
	sum = binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	return append(sum[:4:4], data...), sum, nil
}

// decode reads the record of a job.
func decode(id string, record []byte) (j Job, err error) {
	if len(record) < 4 {
		return j, fmt.Errorf("it has %d bytes", len(record))
	}
	sum, data := record[:4], record[4:]
	if want, got := binary.BigEndian.Uint32(sum), crc32.Checksum(data, castagnoli); want != got {
		return j, fmt.Errorf("its checksum is %08x, where %08x was written", got, want)
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return j, err
	}
	if j.ID != id {
		return j, fmt.Errorf("it is of job %s", j.ID)
	}
	return j, nil
}

// load reads a job: ErrUnknown if there is none, a DamagedError if it is not as it was written.
func (j *Journal) load(tx *bolt.Tx, id string) (Job, error) {
	record := tx.Bucket(jobsBucket).Get([]byte(id))
	if record == nil {
		return Job{}, ErrUnknown
	}
	job, err := decode(id, record)
	if err == nil {
		sum, ordered, ok := splitOrder(tx.Bucket(orderBucket).Get(number(job.Seq)))
		switch {
		case !ok || ordered != id:
			err = fmt.Errorf("number %d in the order is not its own", job.Seq)
		case !bytes.Equal(sum, record[:4]):
			err = errors.New("it is an older one than the order knows")
		}
	}
	if err != nil {
		return Job{}, &DamagedError{Path: j.path, ID: id, Err: err}
	}
	return job, nil
}

// splitOrder takes an entry of the order apart.
func splitOrder(value []byte) (sum []byte, id string, ok bool) {
	if len(value) < 5 {
		return nil, "", false
	}
	return value[:4], string(value[4:]), true
}

// store writes a job in the place of what it was before, nil if it is new, with all that finds it.
func (t *txn) store(before, job *Job) error {
	record, sum, err := encode(job)
	if err != nil {
		return err
	}
	id, seq := []byte(job.ID), number(job.Seq)
	err = errors.Join(
		t.put(jobsBucket, id, record),
		t.put(orderBucket, seq, append(sum, id...)),
	)
	if before == nil {
		err = errors.Join(err, t.put(ownersBucket, joined(job.Owner, seq), id))
		if job.Key != "" {
			err = errors.Join(err, t.put(keysBucket, joined(job.Owner, []byte(job.Key)), id))
		}
	} else {
		err = errors.Join(err, t.unindex(before))
	}
	if job.State.Ended() {
		key, value := endedEntry(job)
		err = errors.Join(err, t.put(endedBucket, key, value))
	} else {
		err = errors.Join(err, t.put(openBucket, seq, id), t.countOpen(1))
	}
	for _, b := range job.Inputs {
		err = errors.Join(err, t.put(blobsBucket, joined(b.ID, id), []byte("i")))
	}
	for _, b := range job.Outputs {
		err = errors.Join(err, t.put(blobsBucket, joined(b.ID, id), []byte("o")))
	}
	return err
}

// unindex removes what an Update can change of a job's entries.
func (t *txn) unindex(job *Job) (err error) {
	if job.State.Ended() {
		key, _ := endedEntry(job)
		err = t.delete(endedBucket, key)
	} else {
		err = errors.Join(t.delete(openBucket, number(job.Seq)), t.countOpen(-1))
	}
	for _, list := range [][]Blob{job.Inputs, job.Outputs} {
		for _, b := range list {
			err = errors.Join(err, t.delete(blobsBucket, joined(b.ID, []byte(job.ID))))
		}
	}
	return err
}

// erase removes a job and all that finds it.
func (t *txn) erase(job *Job) error {
	err := errors.Join(
		t.unindex(job),
		t.delete(jobsBucket, []byte(job.ID)),
		t.delete(orderBucket, number(job.Seq)),
		t.delete(ownersBucket, joined(job.Owner, number(job.Seq))),
	)
	if job.State == Done {
		err = errors.Join(err, t.countRemoved(job.Owner, job.Created, len(job.Outputs)))
	}
	if job.Key != "" {
		err = errors.Join(err, t.delete(keysBucket, joined(job.Owner, []byte(job.Key))))
	}
	return err
}

func (t *txn) countOpen(change int) error {
	t.wrote = true
	b := t.Bucket(openBucket)
	return b.SetSequence(b.Sequence() + uint64(change))
}

// endedEntry is where a job that has ended stands among the others. It has a checksum, since Expire removes what it
// says.
func endedEntry(j *Job) (key, value []byte) {
	key = append(number(uint64(j.Ended.UnixNano())), number(j.Seq)...)
	bytes := int64(0)
	for _, b := range j.Outputs {
		bytes += b.Bytes
	}
	rest := append(number(uint64(bytes)), j.ID...)
	return key, append(endedSum(key, rest), rest...)
}

func endedSum(key, rest []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rest))
}

// splitEnded takes an entry of the ended jobs apart.
func splitEnded(key, value []byte) (ended, outputs int64, id string, ok bool) {
	if len(key) != 16 || len(value) < 13 || !bytes.Equal(value[:4], endedSum(key, value[4:])) {
		return 0, 0, "", false
	}
	return int64(numberOf(key)), int64(numberOf(value[4:])), string(value[12:]), true
}

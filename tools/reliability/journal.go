package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/goxl/goxl/job"
)

// journalName is the journal's in the folder of images.
const journalName = "jobs.db"

// readJournal reads all jobs of a journal that no server has. A damaged record is an error.
func readJournal(path string) (records map[string]job.Job, err error) {
	j, err := job.OpenJournal(path, job.JournalOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	records, damaged, err := listAll(j)
	if err == nil && len(damaged) > 0 {
		err = fmt.Errorf("%s: records of %v are damaged", filepath.Base(path), damaged)
	}
	return records, err
}

// listAll pages through a journal.
func listAll(j *job.Journal) (records map[string]job.Job, damaged []string, err error) {
	records = map[string]job.Job{}
	filter := job.Filter{Limit: 500}
	for {
		page, err := j.List(filter)
		if err != nil {
			return nil, nil, err
		}
		for _, of := range page.Jobs {
			records[of.ID] = of
		}
		damaged = append(damaged, page.Damaged...)
		if page.Next == 0 {
			return records, damaged, nil
		}
		filter.Before = page.Next
	}
}

// Numbers and times in words.

// duration is a time in seconds as a person says it.
export function duration(seconds) {
  if (seconds < 1) return 'less than a second';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const size = (width, height) => `${width} × ${height}`;

// promptOf says what a job's image shows, "" where nothing was said.
export const promptOf = ({ parameters: p = {} }) => p.prompts?.[0]?.prompt || (p.upscale ? `Upscaled by ${p.upscale.upscaler}` : '');

// moment is a time of day, with the day where that is another.
export function moment(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
}

// place says where a job is in the queue, in few letters.
export const place = (job) => (job.state !== 'queued' || !job.position ? status(job) : job.position === 1 ? 'Next' : `Number ${job.position}`);

// status says how far a job is.
export function status(job) {
  switch (job.state) {
    case 'queued':
      return job.position > 1 ? `Waiting, number ${job.position} in the queue` : job.position === 1 ? 'Waiting, next in the queue' : 'Waiting';
    case 'interrupted':
      return 'Interrupted, is going to be computed again';
    case 'running': {
      if (job.loading > 0 && job.loading < 100 && !job.step) return `Loading the model, ${Math.round(job.loading)} %`;
      if (job.stopping) return 'Stopping after this step';
      if (!job.steps) return 'Starting';
      if (job.step >= job.steps) return 'Finishing';
      return `Step ${job.step} of ${job.steps}` + (job.seconds_left > 0 ? `, ${duration(job.seconds_left)} left` : '');
    }
    case 'done': {
      const took = job.started && job.ended ? ` in ${duration((Date.parse(job.ended) - Date.parse(job.started)) / 1000)}` : '';
      return job.parameters?.interrupted ? `Stopped early${took && ','}${took}` : `Done${took}`;
    }
    case 'failed':
      return job.error?.message ? `Failed: ${job.error.message}` : 'Failed';
    case 'cancelled':
      return 'Cancelled';
  }
  return job.state;
}

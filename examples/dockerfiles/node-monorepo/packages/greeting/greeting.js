import ms from 'ms';

export const greet = (word, name) => `${word} ${name}, for ${ms(ms('1d'), { long: true })}`;

import { render } from 'preact';
import { App } from './app';
import { start } from './live';
import './style.css';

render(<App />, document.getElementById('page')!);
start();

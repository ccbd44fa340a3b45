// SPDX-License-Identifier: BSD-2-Clause
// The dialog before a command: what will happen, then whether it did. Cancel has the focus, so that
// Enter alone never does harm.

import {Problem, commandNode} from './api.js';
import {element, setText} from './format.js';

const TITLES = {
    drain: name => `Drain ${name}?`,
    maint: name => `Put ${name} in maintenance?`,
    resync: name => `Throw away the data of ${name}?`,
    ready: name => `Take ${name} back?`,
};

const WORDS = {
    drain: 'Drain it', maint: 'Put it in maintenance', resync: 'Throw it away', ready: 'Take it back',
};

const $ = id => document.getElementById(id);

/** What the proxy says to type, as what to do on this page. */
function onPage(fix) {
    const word = verb => verb[0].toUpperCase() + verb.slice(1);
    return fix.replace(/,? or repeat with \?force=true/, '')
        .replace(/POST \/v1\/nodes\/([^/\s]+)\/([a-z]+)/g,
            (_, name, verb) => `press "${word(verb)}" at ${decodeURIComponent(name)}`)
        .replace(/GET \/v1\/nodes\/([^/\s]+) says/g,
            (_, name) => `${decodeURIComponent(name)} is`)
        .replace(/GET \/v1\/nodes/g, 'the table of nodes');
}

export class Ask {
    /** DONE is called after a command was taken. */
    constructor(done) {
        this.dialog = $('ask');
        this.done = done;
        $('ask-yes').addEventListener('click', () => this.run());
        this.dialog.addEventListener('close', () => {
            this.opener?.focus();
            this.current = null;
        });
    }

    /** Ask before COMMAND is sent to NAME. */
    open(name, command, sentences, opener) {
        this.current = {name, command, isForced: false};
        this.opener = opener;
        setText($('ask-title'), TITLES[command](name));
        $('ask-text').replaceChildren(...sentences.map(text => element('p', '', text)));
        this.offer(WORDS[command], command === 'resync');
        setText($('ask-error'), '');
        this.dialog.showModal();
        $('ask-no').focus();
    }

    offer(word, isDanger) {
        const yes = $('ask-yes');
        setText(yes, word);
        yes.disabled = false;
        yes.hidden = false;
        yes.classList.toggle('danger', isDanger);
        setText($('ask-no'), 'Cancel');
    }

    async run() {
        const {name, command, isForced} = this.current;
        const asked = this.current;
        $('ask-yes').disabled = true;
        setText($('ask-error'), '');
        setText($('ask-yes'), 'Waiting for all proxies…');
        try {
            await commandNode(name, command, isForced);
            this.done();
            if (this.current === asked) {
                this.dialog.close();
            }
        } catch (error) {
            if (this.current === asked) {
                this.refused(error);
            }
        }
    }

    /** The proxy's own words; a last copy can be insisted on. */
    refused(error) {
        const isProblem = error instanceof Problem;
        const isLastCopy = isProblem && error.type === '/problems/last-copy';
        if (!this.dialog.open) {
            setText($('ask-title'), TITLES[this.current.command](this.current.name));
            this.dialog.showModal();
        }
        const said = isProblem ? [error.detail] : ['The proxy gave no answer; the command may still '
            + 'come into effect.'];
        $('ask-text').replaceChildren(...said.map(text => element('p', '', text)),
            ...isProblem && error.fix !== '' && !isLastCopy
                ? [element('p', '', element('b', '', 'What to do: '), `${onPage(error.fix)}.`)] : []);
        setText($('ask-error'), isProblem ? `Refused: ${error.message}.` : 'No answer.');
        if (isLastCopy) {
            $('ask-text').append(element('p', '', element('b', '', 'What to do: '),
                `${onPage(error.fix)}.`),
                element('p', '', 'Or insist: it is done all the same, and what only this node '
                    + 'holds can\'t be read.'));
            this.current.isForced = true;
            this.offer('Do it all the same', true);
        } else {
            $('ask-yes').hidden = true;
        }
        setText($('ask-no'), isLastCopy ? 'Leave it' : 'Close');
        $('ask-no').focus();
    }

    /** Send what harms nothing without asking; a refusal is shown. */
    async send(name, command, opener) {
        this.current = {name, command, isForced: false};
        const asked = this.current;
        this.opener = opener;
        opener.disabled = true;
        try {
            await commandNode(name, command, false);
            this.done();
        } catch (error) {
            if (this.current === asked) {
                this.refused(error);
            }
        } finally {
            opener.disabled = false;
        }
    }
}

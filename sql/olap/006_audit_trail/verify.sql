SELECT audit.refuse_editors();
